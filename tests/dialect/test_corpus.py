"""Recorded traffic of providers that speak Chat Completions and Messages: every answer decodes, survives any split, and re-encodes to what the
official SDK reads alike; across dialects the SDK of the client reads what was recorded."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anthropic
import pytest

from apipod_proxy.dialect import Aim, Dialect, Quirks, Truncated
from apipod_proxy.dialect.anthropic.names import WORDS as MESSAGES_WORDS
from apipod_proxy.dialect.openai_chat.names import WORDS as CHAT_WORDS
from apipod_proxy.dialect.table import DIALECTS
from apipod_proxy.dialect.vocabulary import (
    Call,
    Event,
    Failure,
    Finish,
    Media,
    RefusalDelta,
    Start,
    StopReason,
    TextDelta,
    ThinkingDelta,
    ToolArgs,
    ToolOpen,
    Unknown,
    Usage,
    UsageReport,
)
from apipod_proxy.errors import BadRequest
from tests.dialect.wire import (
    INFO,
    corpus_folder,
    decode,
    ids,
    openai_client,
    recorded_answer,
    recordings,
    transport,
)

CHAT = DIALECTS["openai_chat"]
MESSAGES = DIALECTS["anthropic"]
SPEAK_CHAT = (
    "openai-chat",
    "openrouter",
    "mistral",
    "deepseek",
    "ollama",
    "azure",
    "xai",
    "groq",
    "gigachat",
    "huggingface",
    "perplexity",
    "cerebras",
    "zai",
    "together",
    "alibaba",
    "moonshotai",
    "cloudflare",
    "gemini-openai-compat",
)
GENEROUS = Quirks(cache_control=True, tool_signatures=True, custom_tools=True, extra={"file_urls": True})
WHOLE = INFO._replace(include_usage=True)
NOT_ONE_ANSWER = ("vercel__anthropic-programmatic-tool-calling",)
"""A fixture of many answers one behind the other."""


def is_chat(case: dict[str, Any]) -> bool:
    # The second version of GigaChat is a protocol of its own.
    return "chat/completions" in case["request"]["path"] and "/v2/" not in case["request"]["path"]


def is_messages(case: dict[str, Any]) -> bool:
    return "messages" in case["request"]["path"] and "count_tokens" not in case["request"]["path"]


def answered(wanted: Callable[[dict[str, Any]], bool]) -> Callable[[dict[str, Any]], bool]:
    return lambda case: wanted(case) and case["response"]["status"] == 200


def asked(wanted: Callable[[dict[str, Any]], bool]) -> Callable[[dict[str, Any]], bool]:
    return lambda case: wanted(case) and isinstance(case["request"].get("body"), dict)


CHAT_ANSWERS = [(CHAT, path) for path in recordings(answered(is_chat), *SPEAK_CHAT)]
MESSAGES_ANSWERS = [
    (MESSAGES, path)
    for path in recordings(answered(is_messages), "anthropic-messages")
    if not path.stem.startswith(NOT_ONE_ANSWER)
]
ANSWERS = CHAT_ANSWERS + MESSAGES_ANSWERS
FOREIGN = [
    (DIALECTS["gemini"], path)
    for path in recordings(
        answered(lambda case: "enerateContent" in case["request"]["path"]), "gemini-generateContent", "vertex"
    )
] + [
    (DIALECTS["openai_responses"], path)
    for path in recordings(
        answered(
            lambda case: (
                case["request"]["path"].endswith("/responses") and case["request"]["method"] == "POST"
            )
        ),
        "openai-responses",
    )
]
REQUESTS = [(CHAT, path) for path in recordings(asked(is_chat), *SPEAK_CHAT)] + [
    (MESSAGES, path) for path in recordings(asked(is_messages), "anthropic-messages")
]
ERRORS = recordings(
    lambda case: case["response"]["status"] >= 400,
    *SPEAK_CHAT,
    "anthropic-messages",
    "cohere",
    "openai-responses",
    "vertex",
)


def name(value: object) -> str:
    return (
        value.name
        if isinstance(value, Dialect)
        else value.stem[-60:]
        if isinstance(value, Path)
        else str(value)
    )


def events_of(row: Dialect, case: dict[str, Any]) -> list[Event]:
    data = recorded_answer(case)
    return decode(row, data) if "chunks" in case["response"] else row.decode_unary(data, ids())


# What the SDKs read


def read_chat(body: bytes, streamed: bool) -> list[dict[str, Any]]:
    """Each choice as the OpenAI SDK gives it, and what was used."""
    client = openai_client(body, "text/event-stream" if streamed else "application/json")
    choices: dict[int, dict[str, Any]] = {}
    usage = None
    if not streamed:
        answer = client.chat.completions.create(model="m", messages=[])
        for whole in answer.choices:
            add_chat(choices, whole.index, whole.message, whole.finish_reason)
        usage = answer.usage
    else:
        for chunk in client.chat.completions.create(model="m", messages=[], stream=True):
            usage = chunk.usage or usage
            for piece in chunk.choices or []:
                add_chat(choices, piece.index, piece.delta, piece.finish_reason)
    for choice in choices.values():
        choice["calls"] = [
            (call["id"], call["name"], arguments(call["arguments"])) for call in choice["calls"].values()
        ]
        if choice["calls"] and choice["reason"] in ("stop", None):
            # Some providers say so although tools were called, which would leave the client waiting.
            choice["reason"] = "tool_calls"
        choice["reason"] = {"eos": "stop"}.get(choice["reason"], choice["reason"])
    counts = (
        None
        if usage is None
        else {key: value for key, value in usage.model_dump().items() if value is not None}
    )
    return [*choices.values(), {"usage": counts}]


def arguments(text: str) -> Any:
    try:
        return json.loads(text or "{}")
    except json.JSONDecodeError:
        return text


def add_chat(choices: dict[int, dict[str, Any]], index: int, message: Any, reason: str | None) -> None:
    seen = choices.setdefault(
        index or 0, {"text": "", "thinking": "", "refusal": "", "calls": {}, "reason": None}
    )
    seen["reason"] = seen["reason"] or reason
    if message is None:
        return
    extra = message.model_extra or {}
    content = message.content
    if isinstance(content, list):
        for part in content:
            pieces = part.get("thinking") or [part]
            seen["thinking" if "thinking" in part else "text"] += "".join(
                piece.get("text", "") for piece in pieces
            )
    elif content is not None:
        seen["text"] += content if isinstance(content, str) else json.dumps(content, separators=(",", ":"))
    seen["thinking"] += extra.get("reasoning_content") or extra.get("reasoning") or ""
    seen["refusal"] += message.refusal or ""
    legacy = message.function_call
    if legacy is not None:
        call = seen["calls"].setdefault("legacy", {"id": None, "name": "", "arguments": ""})
        call["name"] += legacy.name or ""
        call["arguments"] += (
            legacy.arguments if isinstance(legacy.arguments, str) else json.dumps(legacy.arguments or {})
        )
    for number, item in enumerate(message.tool_calls or []):
        key = getattr(item, "index", None)
        call = seen["calls"].setdefault(
            number if key is None else key, {"id": None, "name": "", "arguments": ""}
        )
        call["id"] = call["id"] or item.id
        if item.function is not None:
            call["name"] += item.function.name or ""
            call["arguments"] += item.function.arguments or ""


def read_messages(body: bytes, streamed: bool) -> dict[str, Any]:
    """The message as the Anthropic SDK gives it."""
    content_type = "text/event-stream" if streamed else "application/json"
    client = anthropic.Anthropic(
        api_key="k", base_url="http://127.0.0.1:9", http_client=transport(body, content_type), max_retries=0
    )
    prompt: Any = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]}
    with warnings.catch_warnings():
        # The SDK warns of blocks that are newer than it is.
        warnings.simplefilter("ignore")
        if not streamed:
            message = client.messages.create(**prompt)
        else:
            with client.messages.stream(**prompt) as answer:
                message = answer.get_final_message()
        return {key: value for key, value in message.model_dump(exclude_none=True).items() if key != "model"}


READERS: dict[str, Callable[[bytes, bool], Any]] = {"openai_chat": read_chat, "anthropic": read_messages}


@pytest.mark.parametrize(("row", "path"), ANSWERS, ids=name)
def test_every_answer_re_encodes_to_what_the_sdk_reads_alike(row: Dialect, path: Path) -> None:
    case = json.loads(path.read_bytes())
    events = events_of(row, case)
    assert not any(isinstance(event, Unknown) for event in events)
    if any(isinstance(event, Failure) for event in events):
        return
    streamed = "chunks" in case["response"]
    encoder = row.encoder(WHOLE)
    again = b"".join(encoder.send(event) for event in events) if streamed else encoder.fold(events)
    assert list(getattr(encoder, "dropped", ())) == []
    original = READERS[row.name](recorded_answer(case), streamed)
    if row is CHAT:
        assert without_made_up(read_chat(again, streamed)) == without_made_up(original)
    else:
        assert read_messages(again, streamed) == original


def without_made_up(choices: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Ids that were missing are made; usage that Groq has elsewhere stands where clients look for it."""
    for choice in choices[:-1]:
        choice["calls"] = [
            (None if not call[0] or str(call[0]).startswith("call_1") else call[0], *call[1:])
            for call in choice["calls"]
        ]
    if choices[-1]["usage"] is None or "queue_time" in choices[-1]["usage"]:
        choices[-1]["usage"] = None
    return choices


@pytest.mark.parametrize(
    ("row", "path"), [item for item in ANSWERS if '"chunks"' in item[1].read_text()], ids=name
)
def test_every_stream_survives_byte_by_byte(row: Dialect, path: Path) -> None:
    data = recorded_answer(json.loads(path.read_bytes()))
    decoder = row.decoder(ids())
    # A long stream is fed in pieces of a few bytes, a short one byte by byte.
    size = 1 if len(data) < 12_000 else 61
    events = [
        event for start in range(0, len(data), size) for event in decoder.feed(data[start : start + size])
    ]
    try:
        events += decoder.eof()
    except Truncated:
        assert any(isinstance(event, Failure) for event in events)
        return
    assert events == decode(row, data)


# Across dialects


def told(events: list[Event]) -> dict[str, Any]:
    """What an answer says, as plain values; only of the first choice."""
    seen: dict[str, Any] = {"text": "", "thinking": "", "refusal": "", "calls": {}, "reason": None}
    usage = Usage()
    for event in events:
        if getattr(event, "choice", 0):
            continue
        if isinstance(event, TextDelta):
            seen["text"] += event.text
        elif isinstance(event, ThinkingDelta):
            seen["thinking"] += event.text
        elif isinstance(event, RefusalDelta):
            seen["refusal"] += event.text
        elif isinstance(event, ToolOpen):
            seen["calls"][event.block] = [event.id, event.name, "", event.custom]
        elif isinstance(event, ToolArgs):
            seen["calls"][event.block][2] += event.fragment
        elif isinstance(event, Finish):
            seen["reason"] = event.reason
        elif isinstance(event, (UsageReport, Start)):
            usage = usage.merged(event.usage or Usage())
    seen["calls"] = [
        (call_id, call_name, {"input": text} if custom else arguments(text))
        for call_id, call_name, text, custom in seen["calls"].values()
    ]
    prompt = (usage.input or 0) + (usage.cache_read or 0) + (usage.cache_write or 0)
    seen["usage"] = (prompt, (usage.output or 0) + (usage.reasoning or 0))
    return seen


def as_chat(body: bytes, streamed: bool) -> dict[str, Any]:
    choice, *_, rest = read_chat(body, streamed)
    usage = rest["usage"] or {}
    return choice | {"usage": (usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0))}


def as_messages(body: bytes, streamed: bool) -> dict[str, Any]:
    message = read_messages(body, streamed)
    blocks = message["content"]
    usage = message["usage"]
    cached = (usage.get("cache_read_input_tokens") or 0) + (usage.get("cache_creation_input_tokens") or 0)
    return {
        "text": "".join(block["text"] for block in blocks if block["type"] == "text"),
        "thinking": "".join(block["thinking"] for block in blocks if block["type"] == "thinking"),
        "refusal": "",
        "calls": [
            (block["id"], block["name"], block["input"]) for block in blocks if block["type"] == "tool_use"
        ],
        "reason": message["stop_reason"],
        "usage": (usage["input_tokens"] + cached, usage["output_tokens"]),
    }


@pytest.mark.parametrize(
    ("row", "path", "target"),
    [(*item, MESSAGES) for item in CHAT_ANSWERS]
    + [(*item, CHAT) for item in MESSAGES_ANSWERS]
    + [(*item, target) for item in FOREIGN for target in (CHAT, MESSAGES)],
    ids=name,
)
def test_the_sdk_of_another_dialect_reads_what_was_recorded(
    row: Dialect, path: Path, target: Dialect
) -> None:
    case = json.loads(path.read_bytes())
    if case["response"].get("framing") == "json-array":
        return
    events = events_of(row, case)
    if any(isinstance(event, Failure) for event in events):
        return
    expected = told(events)
    if any(isinstance(call[2], str) for call in expected["calls"]) or any(
        isinstance(e, ToolOpen) and e.custom for e in events
    ):
        # Arguments that were cut off, and free text, have no equal in the other dialect.
        return
    reason = expected["reason"]
    if expected["calls"] and reason in (StopReason.STOP, StopReason.OTHER):
        reason = StopReason.TOOL_USE
    elif expected["refusal"] and reason is StopReason.STOP and target is MESSAGES:
        reason = StopReason.REFUSAL
    expected["reason"] = (CHAT_WORDS if target is CHAT else MESSAGES_WORDS)[reason]
    if target is MESSAGES:
        expected["text"] += expected["refusal"]
        expected["refusal"] = ""
    read = as_chat if target is CHAT else as_messages
    encoder = target.encoder(WHOLE)
    if "chunks" in case["response"] or row in (CHAT, MESSAGES):
        assert read(b"".join(encoder.send(event) for event in events), True) == expected
    if "chunks" not in case["response"]:
        assert read(target.encoder(WHOLE).fold(events), False) == expected


# Requests and errors


@pytest.mark.parametrize(("row", "path"), REQUESTS, ids=name)
def test_every_request_keeps_its_conversation(row: Dialect, path: Path) -> None:
    body = json.dumps(json.loads(path.read_bytes())["request"]["body"]).encode()
    call = row.decode_request(body)
    encoded = row.encode_request(call, Aim(call.model, quirks=GENEROUS))
    again = row.decode_request(encoded.body)
    assert set(encoded.dropped) <= {"thinking.signature", "reasoning"}
    for ours, theirs in zip(again.messages, call.messages, strict=True):
        assert (ours.role, len(ours.parts)) == (theirs.role, len(theirs.parts))
    if not encoded.dropped:
        forget_made_up_names(again, call)
        assert again.messages == call.messages
    for field in ("max_tokens", "stop", "choices", "sampling", "output", "user", "metadata"):
        if field != "max_tokens" or call.max_tokens is not None:
            assert getattr(again, field) == getattr(call, field), field
    for target in DIALECTS.values():
        try:
            target.encode_request(call, Aim("m", quirks=GENEROUS))
        except BadRequest as error:
            assert error.path


def forget_made_up_names(again: Call, call: Call) -> None:
    """Files and schemas without a name are given one, which OpenAI wants."""
    if again.output is not None and call.output is not None and call.output.name is None:
        again.output.name = None
    for ours, theirs in zip(again.messages, call.messages, strict=True):
        for mine, other in zip(ours.parts, theirs.parts, strict=True):
            if isinstance(mine, Media) and isinstance(other, Media) and other.name is None:
                mine.name = None
                mine.media_type = other.media_type


@pytest.mark.parametrize("path", ERRORS, ids=name)
def test_every_error_keeps_its_message(path: Path) -> None:
    response = json.loads(path.read_bytes())["response"]
    headers = {key.lower(): value for key, value in response["headers"].items() if isinstance(value, str)}
    for row in (CHAT, MESSAGES):
        error = row.decode_error(response["status"], headers, recorded_answer({"response": response}))
        assert error.upstream_status == response["status"]
        assert error.message


def test_the_recordings_are_read_where_they_are() -> None:
    assert bool(ANSWERS) is (corpus_folder() is not None)
