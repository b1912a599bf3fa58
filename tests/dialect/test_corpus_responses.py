"""Recorded traffic of the Responses API at five providers: every answer decodes, survives any split, and re-encodes to what the SDK reads alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from apipod_proxy.dialect import Aim
from apipod_proxy.dialect.openai_responses import ROW
from apipod_proxy.dialect.vocabulary import End, Event, Failure, Finish, Unknown
from tests.dialect.wire import INFO, decode, ids, openai_client, payloads, recorded_answer, recordings, stream

PROVIDERS = ("openai-responses", "xai", "azure", "deepseek", "openrouter")


def _speaks_responses(case: dict[str, Any]) -> bool:
    path = case["request"]["path"].partition("?")[0]
    return "/responses" in path and not path.endswith(("/input_tokens", "/compact"))


CASES = recordings(_speaks_responses, *PROVIDERS)
ANSWERS = [path for path in CASES if json.loads(path.read_bytes())["response"]["status"] == 200]
STREAMS = [path for path in ANSWERS if "chunks" in json.loads(path.read_bytes())["response"]]
ERRORS = [path for path in CASES if path not in ANSWERS]
REQUESTS = [path for path in CASES if isinstance(json.loads(path.read_bytes())["request"].get("body"), dict)]


def name(path: Path) -> str:
    return path.stem[-60:]


def _original(case: dict[str, Any]) -> Any:
    """The whole response that a recording holds; None where it holds several answers, or none."""
    if "chunks" not in case["response"]:
        return case["response"]["body"]
    ends = [
        event
        for event in payloads(recorded_answer(case))
        if event.get("type") in ("response.completed", "response.incomplete")
    ]
    return ends[0]["response"] if len(ends) == 1 else None


def _reads(response: Any) -> dict[str, Any]:
    """What the SDK reads from a whole response."""
    body = json.dumps(response).encode()
    answer = openai_client(body, "application/json").responses.create(model="m", input="x")
    read = answer.to_dict(warnings=False)
    output: Any = read.get("output") or []
    for item in output:
        _settle(item)
    # Items that come whole stand in the order in which they were finished.
    output.sort(key=lambda item: str(item.get("id")))
    return {
        key: read.get(key) for key in ("id", "created_at", "status", "incomplete_details", "output", "usage")
    } | {"text": answer.output_text}


def _settle(item: Any) -> None:
    """What says nothing: seals that are made anew for each event, empty members that some leave out, states of items, rounded digits."""
    for key in ("encrypted_content", "fingerprint"):
        if item.pop(key, None):
            item[key] = "sealed"
    for part in item.get("content") or []:
        for key in ("logprobs", "annotations", "refusal"):
            if not part.get(key):
                part.pop(key, None)
        if "logprobs" in part:
            part["logprobs"] = [token["token"] for token in part["logprobs"]]
    for key in ("content", "summary"):
        if item.get("type") == "reasoning" and not item.get(key):
            item.pop(key, None)
    if item.get("type") in ("function_call", "reasoning", "message"):
        item.pop("status", None)


def _events(case: dict[str, Any]) -> list[Event]:
    data = recorded_answer(case)
    return decode(ROW, data) if "chunks" in case["response"] else ROW.decode_unary(data, ids())


@pytest.mark.parametrize("path", ANSWERS, ids=name)
def test_every_answer_re_encodes_to_what_the_sdk_reads_alike(path: Path) -> None:
    case = json.loads(path.read_bytes())
    events = _events(case)
    assert not any(isinstance(event, Unknown) for event in events)
    if any(isinstance(event, Failure) for event in events):
        assert payloads(stream(ROW, events))[-1]["type"] == "response.failed"
        return
    assert isinstance(events[-1], End)
    assert any(isinstance(event, Finish) for event in events)
    folded = json.loads(ROW.encoder(INFO).fold(events))
    data = stream(ROW, events)
    assert payloads(data)[-1]["response"] == folded
    assert folded["model"] == "asked-model"
    original = _original(case)
    if original is None or original.get("status") == "complete":
        return
    read, expected = _reads(folded), _reads(original)
    if "id-rotation" in path.stem:
        for answer in (read, expected):
            answer["id"] = None
            for item in answer["output"]:
                item["id"] = None
    # Streams of one item may lack what their last event has, or the other way round.
    if "chunks" in case["response"] and len(read["output"]) != len(expected["output"] or []):
        read["output"] = expected["output"] = None
        read["text"] = expected["text"] = ""
    assert read == expected


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@pytest.mark.parametrize("path", [path for path in STREAMS if len(path.read_bytes()) < 400_000], ids=name)
def test_every_stream_survives_any_split_and_the_sdks_strict_helper(path: Path) -> None:
    data = recorded_answer(json.loads(path.read_bytes()))
    decoder = ROW.decoder(ids())
    size = 1 if len(data) < 20_000 else 61
    events = [
        event for start in range(0, len(data), size) for event in decoder.feed(data[start : start + size])
    ]
    events += decoder.eof()
    assert events == decode(ROW, data)
    if any(isinstance(event, Failure) for event in events):
        return
    with openai_client(stream(ROW, events)).responses.stream(model="m", input="x") as helper:
        final = helper.get_final_response()
    whole = openai_client(ROW.encoder(INFO).fold(events), "application/json").responses.create(
        model="m", input="x"
    )
    assert (final.output_text, len(final.output)) == (whole.output_text, len(whole.output))


@pytest.mark.parametrize("path", ERRORS, ids=name)
def test_every_error_keeps_its_message(path: Path) -> None:
    response = json.loads(path.read_bytes())["response"]
    error = ROW.decode_error(response["status"], response["headers"], recorded_answer({"response": response}))
    assert error.upstream_status == response["status"]
    assert error.message
    assert error.message[:20] in json.dumps(response["body"])


def _without_nothing(value: Any) -> Any:
    return (
        {key: item for key, item in value.items() if item is not None} if isinstance(value, dict) else value
    )


def _says_something(item: Any) -> bool:
    """Tools among the items are offered with the others; empty text of the model is left out."""
    content = item.get("content")
    if item.get("role") == "assistant" and isinstance(content, list):
        return any(part.get("text") != "" for part in content)
    return bool(item.get("type") != "additional_tools" and content != "")


@pytest.mark.parametrize("path", REQUESTS, ids=name)
def test_every_request_keeps_what_it_says(path: Path) -> None:
    body = json.loads(path.read_bytes())["request"]["body"]
    call = ROW.decode_request(json.dumps(body).encode())
    encoded = ROW.encode_request(call, Aim(body["model"]))
    written = json.loads(encoded.body)
    assert set(encoded.dropped) <= {"cache_control"}
    lost = {key for key, value in body.items() if value not in (None, False, []) and key not in written}
    assert lost == set()
    for key in body.keys() & written.keys() - {"input", "tools", "tool_choice"}:
        assert _without_nothing(written[key]) == _without_nothing(body[key]), key
    if isinstance(body["input"], list):
        kinds = [item.get("type", "message") for item in body["input"] if _says_something(item)]
        assert [item.get("type", "message") for item in written["input"]] == kinds
