from __future__ import annotations

import inspect

import pytest

from apipod_proxy.dialect import NO_QUIRKS, Aim, AnswerInfo, ProtocolError, Quirks, Truncated
from apipod_proxy.dialect.table import DIALECTS
from apipod_proxy.dialect.vocabulary import CONTENT_EVENTS, Event, Finish, Start, Usage
from tests.dialect.wire import ids


@pytest.mark.parametrize("name", DIALECTS)
def test_every_row_keeps_to_the_contract(name: str) -> None:
    row = DIALECTS[name]
    decoder = row.decoder(ids(), NO_QUIRKS)
    assert decoder.feed(b"") == []
    with pytest.raises(Truncated):
        decoder.eof()
    with pytest.raises(ProtocolError):
        row.decode_unary(b"<html>", ids(), NO_QUIRKS)
    encoder = row.encoder(AnswerInfo("m", "r", 1))
    assert isinstance(encoder.send(Start()), bytes)
    assert (row.ping == b"") is (name == "gemini")
    assert {"model", "stream"} <= set(inspect.signature(row.decode_request).parameters)


def test_nothing_is_special_until_it_is_said() -> None:
    assert Aim("m").quirks == Quirks() == NO_QUIRKS
    assert (Aim("m").max_output, Aim("m").thinks, Aim("m").signs) == (None, None, "")
    assert issubclass(Truncated, ProtocolError)


def test_unknown_usage_differs_from_zero() -> None:
    assert Usage(input=5, output=1).merged(Usage(output=0)) == Usage(input=5, output=0)
    assert Usage().merged(Usage(reasoning=3)) == Usage(reasoning=3)


def test_a_stream_starts_with_content_or_its_end() -> None:
    assert Finish in CONTENT_EVENTS
    assert Start not in CONTENT_EVENTS
    assert all(kind in Event.__args__ for kind in CONTENT_EVENTS)
