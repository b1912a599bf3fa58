"""Every ordered pair of dialects: what one provider says and one client asks for comes through the other's language."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apipod_proxy.dialect import Aim, Quirks
from apipod_proxy.dialect.table import DIALECTS
from apipod_proxy.dialect.vocabulary import (
    Call,
    Event,
    Media,
    Message,
    OutputFormat,
    Part,
    Role,
    Sampling,
    StopReason,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from tests.dialect.event_strategies import answers, told
from tests.dialect.wire import INFO, decode, fold, stream

PAIRS = [(client, upstream) for client in DIALECTS for upstream in DIALECTS]
INFO_WITH_USAGE = INFO._replace(include_usage=True)
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


def heard(answer: dict[str, Any]) -> dict[str, Any]:
    """What every dialect can say: Messages knows no reasoning tokens, Gemini and Chat no other filter."""
    usage = dict(answer["usage"])
    usage["output"] += usage.pop("reasoning")
    reason = answer["reason"]
    blocked = reason in (StopReason.CONTENT_FILTER, StopReason.REFUSAL)
    return answer | {"usage": usage, "reason": "blocked" if blocked else reason}


@pytest.mark.parametrize(("client", "upstream"), PAIRS)
@settings(max_examples=12)
@given(events=answers())
def test_an_answer_comes_through(client: str, upstream: str, events: list[Event]) -> None:
    # What the provider streams is read, and what the client is sent of it is read again.
    sent = decode(DIALECTS[upstream], with_usage(upstream, events))
    got = decode(DIALECTS[client], with_usage(client, sent))
    assert heard(told(got)) == heard(told(events))
    assert fold(DIALECTS[client], sent)


def with_usage(name: str, events: list[Event]) -> bytes:
    if name != "openai_chat":
        return stream(DIALECTS[name], events)
    from_client = DIALECTS[name].encoder(INFO_WITH_USAGE)
    return b"".join(from_client.send(event) for event in events)


WORDS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp"]), min_size=1, max_size=8
)
IMAGE = Media("image", "image/png", data="iVBORw0KGgo=")


@st.composite
def calls(draw: st.DrawFn) -> Call:
    """A request with only what every dialect can express."""
    messages = [Message(Role.SYSTEM, [Text(draw(WORDS))])]
    for turn in range(draw(st.integers(1, 3))):
        asked: list[Part] = [Text(draw(WORDS))]
        if draw(st.booleans()):
            asked.append(IMAGE)
        messages.append(Message(Role.USER, asked))
        used = [f"call_{turn}_{number}" for number in range(draw(st.integers(0, 2)))]
        said: list[Part] = [Text(draw(WORDS))]
        said += [
            ToolCall(call_id, "look", json.dumps({"city": draw(WORDS)}, ensure_ascii=False))
            for call_id in used
        ]
        messages.append(Message(Role.ASSISTANT, said))
        if used:
            results: list[Part] = [ToolResult(call_id, [Text(draw(WORDS))], "look") for call_id in used]
            messages += [Message(Role.USER, results), Message(Role.ASSISTANT, [Text(draw(WORDS))])]
    messages.append(Message(Role.USER, [Text(draw(WORDS))]))
    call = Call("openai_chat", "m", messages, max_tokens=draw(st.integers(16, 5000)))
    call.sampling = Sampling(temperature=draw(st.none() | st.sampled_from([0.0, 0.5, 1.0])))
    call.tools = [Tool("look", "Looks", SCHEMA)]
    call.tool_choice = draw(
        st.sampled_from(
            [
                None,
                ToolChoice("auto"),
                ToolChoice("none"),
                ToolChoice("required"),
                ToolChoice("tool", ["look"]),
            ]
        )
    )
    call.output = draw(st.none() | st.just(OutputFormat("json_schema", SCHEMA)))
    return call


def meant(call: Call) -> dict[str, Any]:
    """What a request asks for, whatever its dialect calls it; neighbours of one role count as one turn."""
    turns: list[tuple[Role, list[Any]]] = []
    for message in call.messages:
        parts = [plain(part) for part in message.parts]
        if turns and turns[-1][0] is message.role:
            turns[-1][1].extend(parts)
        else:
            turns.append((message.role, parts))
    choice = call.tool_choice
    return {
        "turns": turns,
        "limit": call.max_tokens,
        "temperature": call.sampling.temperature,
        "tools": [(tool.name, tool.description, tool.parameters) for tool in call.tools],
        "choice": None if choice is None else (choice.mode, choice.names),
        "schema": None if call.output is None else call.output.schema,
    }


def plain(part: Part) -> Any:
    if isinstance(part, ToolCall):
        return part.id, part.name, json.loads(part.arguments)
    if isinstance(part, ToolResult):
        return part.call_id, [plain(item) for item in part.content], part.is_error
    if isinstance(part, Media):
        return part.kind, part.media_type, part.data
    return part.text if isinstance(part, Text) else part


@pytest.mark.parametrize(("first", "second"), PAIRS)
@settings(max_examples=12)
@given(call=calls())
def test_a_request_there_and_back_keeps_what_both_can_express(first: str, second: str, call: Call) -> None:
    aim = Aim("m", quirks=Quirks(extra={"json_schema": True}))
    for name in (first, second, first):
        encoded = DIALECTS[name].encode_request(call, aim)
        again = DIALECTS[name].decode_request(encoded.body, model="m", stream=False)
        assert meant(again) == meant(call)
        call = again
