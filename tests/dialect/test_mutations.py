"""Requests and answers of which one value is wrong: nothing but the errors that are meant for it may come out."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apipod_proxy.dialect import Aim, ProtocolError
from apipod_proxy.dialect.table import DIALECTS
from apipod_proxy.errors import BadRequest
from tests.dialect import test_gemini_decoder, test_openai_responses_decoder
from tests.dialect.test_gemini_requests import RICH as GEMINI
from tests.dialect.test_openai_responses_items import TURN
from tests.dialect.test_openai_responses_requests import RICH as RESPONSES
from tests.dialect.wire import INFO, ids

REQUESTS: dict[str, Any] = {
    "gemini": GEMINI,
    "openai_responses": {**RESPONSES, "input": [*RESPONSES["input"], *TURN]},
}
STREAMS: dict[str, list[Any]] = {
    "gemini": [chunks for chunks, _ in test_gemini_decoder.STREAMS.values()],
    "openai_responses": [events for events, _ in test_openai_responses_decoder.STREAMS.values()],
}
ODD: list[Any] = [
    *(None, True, False, 0, -1, 3.5, 10**12, "", "x", "auto", "data:image/png;base64,AA"),
    *([], [1], ["a"], [None], [{}], [[]]),
    *({}, {"a": 1}, {"type": "x"}, {"type": "text", "text": 1}, {"text": "x"}),
]
Path = tuple[Any, ...]


def paths(value: Any, path: Path = ()) -> list[Path]:
    """Every place in a value but the whole of it."""
    if isinstance(value, dict):
        inner: list[Any] = list(value)
    else:
        inner = list(range(len(value))) if isinstance(value, list) else []
    found = [path] if path else []
    for key in inner:
        found += paths(value[key], (*path, key))
    return found


def changed(value: Any, path: Path, odd: Any) -> Any:
    copied = copy.deepcopy(value)
    at = copied
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = odd
    return copied


@pytest.mark.parametrize("name", REQUESTS)
@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_wrong_value_in_a_request_is_a_bad_request_or_none(name: str, data: st.DataObject) -> None:
    source = REQUESTS[name]
    body = changed(source, data.draw(st.sampled_from(paths(source))), data.draw(st.sampled_from(ODD)))
    try:
        call = DIALECTS[name].decode_request(json.dumps(body).encode(), model="m", stream=False)
        for row in DIALECTS.values():
            row.encode_request(call, Aim("gemini-3-pro"))
    except BadRequest as error:
        assert str(error)


@pytest.mark.parametrize("name", STREAMS)
@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_wrong_value_in_a_stream_breaks_the_protocol_or_nothing(name: str, data: st.DataObject) -> None:
    source = data.draw(st.sampled_from(STREAMS[name]))
    events = changed(source, data.draw(st.sampled_from(paths(source))), data.draw(st.sampled_from(ODD)))
    decoder = DIALECTS[name].decoder(ids())
    found = []
    try:
        for event in events:
            found += decoder.feed(b"data: " + json.dumps(event).encode() + b"\n\n")
        found += decoder.eof()
    except ProtocolError:
        pass  # the only thing that may come out of a broken stream
    for row in DIALECTS.values():
        encoder = row.encoder(INFO)
        for event in found:
            encoder.send(event)
