from __future__ import annotations

import json
from typing import Any

import pytest

from apipod_proxy.dialect import Aim, Quirks
from apipod_proxy.dialect.anthropic import ROW
from apipod_proxy.dialect.vocabulary import (
    Call,
    Media,
    Message,
    Opaque,
    Part,
    Refusal,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from apipod_proxy.errors import BadRequest

MARK = {"type": "ephemeral"}
CALL = {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QQ=="}}


def decode(messages: list[Any], **members: Any) -> Call:
    return ROW.decode_request(
        json.dumps({"model": "m", "max_tokens": 9, "messages": messages} | members).encode()
    )


def encode(call: Call, **aim: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    encoded = ROW.encode_request(call, Aim("m", 9, **aim))
    return json.loads(encoded.body), tuple(encoded.dropped)


def foreign(*messages: Message, **aim: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    return encode(Call("openai_chat", "m", [*messages]), **aim)


def user(*parts: Part) -> Message:
    return Message(Role.USER, [*parts])


def model(*parts: Part) -> Message:
    return Message(Role.ASSISTANT, [*parts])


CONVERSATIONS: list[list[Any]] = [
    [{"role": "user", "content": [{"type": "text", "text": "a"}, IMAGE | {"cache_control": MARK}]}],
    [
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "H", "signature": "s"},
                {"type": "redacted_thinking", "data": "d"},
                CALL,
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "t1",
                    "content": [{"type": "text", "text": "r"}, IMAGE],
                    "is_error": True,
                    "cache_control": MARK,
                },
                {"type": "text", "text": "and?"},
            ],
        },
    ],
    [
        {"role": "user", "content": [{"type": "text", "text": "a"}]},
        {"role": "system", "content": [{"type": "text", "text": "later"}]},
    ],
    [{"role": "assistant", "content": [{"type": "server_tool_use", "id": "s", "name": "n", "input": {}}]}],
    [
        {
            "role": "user",
            "content": [
                {
                    "type": "document",
                    "source": {"type": "url", "url": "http://x"},
                    "title": "T",
                    "citations": {"enabled": True},
                }
            ],
        }
    ],
    [{"role": "user", "content": [{"type": "text", "text": "a"}], "x": 1}],
    [{"role": "user", "content": []}, {"role": "user", "content": [{"type": "text", "text": ""}]}],
]


@pytest.mark.parametrize("messages", CONVERSATIONS)
def test_a_conversation_that_is_read_is_written_again(messages: list[Any]) -> None:
    body, dropped = encode(decode(messages))
    assert (body["messages"], dropped) == (messages, ())


@pytest.mark.parametrize(
    "system",
    ["be nice", [{"type": "text", "text": "a"}, {"type": "text", "text": "b", "cache_control": MARK}]],
)
def test_the_system_text_is_kept(system: Any) -> None:
    call = decode([{"role": "user", "content": "hi"}], system=system)
    assert call.messages[0].role is Role.SYSTEM
    assert encode(call)[0]["system"] == system


@pytest.mark.parametrize(
    ("messages", "path"),
    [
        ([], "$.messages"),
        ([5], "$.messages[0]"),
        ([{"content": "a"}], "$.messages[0].role"),
        ([{"role": "tool", "content": "a"}], "$.messages[0].role"),
        ([{"role": "user"}], "$.messages[0].content"),
        ([{"role": "user", "content": 5}], "$.messages[0].content"),
        (
            [{"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": 5}}]}],
            "$.messages[0].content[0].source.url",
        ),
    ],
)
def test_a_wrong_message_is_named_by_its_path(messages: list[Any], path: str) -> None:
    with pytest.raises(BadRequest) as caught:
        decode(messages)
    assert caught.value.path == path


def test_system_text_in_the_middle_is_marked_as_what_it_is() -> None:
    body, _ = foreign(
        Message(Role.SYSTEM, [Text("a")]),
        Message(Role.DEVELOPER, [Text("b")]),
        user(Text("hi")),
        Message(Role.SYSTEM, [Text("later")]),
    )
    assert [block["text"] for block in body["system"]] == ["a", "b"]
    assert body["messages"] == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "hi"},
                {"type": "text", "text": "<system>\nlater\n</system>"},
            ],
        }
    ]


def test_turns_of_one_role_become_one_with_results_in_front() -> None:
    body, _ = foreign(
        user(Text("hi")),
        model(ToolCall("t1", "f", "{}")),
        model(ToolCall("t2", "f", "{}")),
        user(ToolResult("t1", [Text("r1")])),
        user(Text("see")),
        user(ToolResult("t2", [])),
    )
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]
    assert [block["type"] for block in body["messages"][2]["content"]] == [
        "tool_result",
        "tool_result",
        "text",
    ]
    assert body["messages"][2]["content"][1] == {"type": "tool_result", "tool_use_id": "t2"}


def test_thinking_goes_back_only_to_who_signed_it() -> None:
    parts: list[Part] = [
        Thinking("H", "s", "anthropic"),
        Thinking("", "d", "anthropic", redacted=True),
        Text("a"),
    ]
    body, dropped = foreign(user(Text("hi")), model(*parts))
    assert [block["type"] for block in body["messages"][1]["content"]] == [
        "thinking",
        "redacted_thinking",
        "text",
    ]
    assert dropped == ()
    for other in (Thinking("H"), Thinking("H", "s", "gemini")):
        body, dropped = foreign(user(Text("hi")), model(other, Text("a")))
        assert (len(body["messages"][1]["content"]), dropped) == (1, ("thinking",))
    body, dropped = foreign(user(Text("hi")), model(Thinking("H", "s", "gemini"), Text("a")), signs="gemini")
    assert body["messages"][1]["content"][0]["signature"] == "s"


def test_what_has_no_place_is_named() -> None:
    _, dropped = foreign(
        Message(
            Role.USER, [Text("a", signature="s"), Media("image", url="http://x", detail="low")], name="bob"
        ),
        model(ToolCall("t", "f", "{}", signature="s", signed_by="gemini")),
        Message(Role.USER, [Text("b")], extra=Opaque("gemini", {}, "contents[1].x")),
    )
    assert dropped == ("thinking.signature", "detail", "name", "contents[1].x")


def test_empty_texts_and_turns_are_left_out_and_a_begun_answer_ends_in_no_blank() -> None:
    body, _ = foreign(user(Text("")), user(Text("hi"), Refusal("")), model(Refusal("no"), Text("so far \n")))
    assert body["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
        {
            "role": "assistant",
            "content": [{"type": "text", "text": "no"}, {"type": "text", "text": "so far"}],
        },
    ]
    with pytest.raises(BadRequest):
        foreign(user())


def test_content_of_another_dialect_is_refused_by_its_path() -> None:
    with pytest.raises(BadRequest) as caught:
        foreign(user(Text("a"), Opaque("gemini", {}, "$.contents[0].parts[1].executableCode")))
    assert caught.value.path == "$.contents[0].parts[1].executableCode"


def test_urls_are_refused_where_the_provider_loads_none() -> None:
    with pytest.raises(BadRequest, match="loads no URLs"):
        foreign(user(Media("image", url="http://x")), quirks=Quirks(fetches_urls=False))


@pytest.mark.parametrize(
    ("model", "expected"), [("claude-opus-4-5", "functions_f_0"), ("kimi-k2", "functions.f:0")]
)
def test_only_claude_is_given_ids_of_another_form(model: str, expected: str) -> None:
    turns = [
        Message(Role.ASSISTANT, [ToolCall("functions.f:0", "f", "{}")]),
        Message(Role.USER, [ToolResult("functions.f:0", [Text("x")])]),
    ]
    encoded = ROW.encode_request(Call("openai_chat", "m", turns), Aim(model, 9))
    call, result = (message["content"][0] for message in json.loads(encoded.body)["messages"])
    assert (call["id"], result["tool_use_id"]) == (expected, expected)
