from __future__ import annotations

import json
from typing import Any

import pytest

from apipod_proxy.dialect import Aim, Quirks
from apipod_proxy.dialect.openai_chat import ROW
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

CALL = {"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,QQ=="}}
OPEN = Quirks(cache_control=True, reasoning_details=True, tool_signatures=True, custom_tools=True)


def decode(*messages: Any) -> list[Message]:
    return ROW.decode_request(json.dumps({"model": "m", "messages": messages}).encode()).messages


def encode(
    messages: list[Message], quirks: Quirks = OPEN, dialect: str = "anthropic"
) -> tuple[list[Any], tuple[str, ...]]:
    encoded = ROW.encode_request(Call(dialect, "m", messages), Aim("m", quirks=quirks))
    return json.loads(encoded.body)["messages"], tuple(encoded.dropped)


def assistant(*parts: Part) -> list[Message]:
    return [Message(Role.ASSISTANT, [*parts])]


CONVERSATIONS: dict[str, list[Any]] = {
    "roles": [
        {"role": "system", "content": "s"},
        {"role": "developer", "content": "d"},
        {"role": "user", "content": "u", "name": "bob"},
        {"role": "assistant", "content": "a"},
        {"role": "system", "content": "later"},
    ],
    "parts": [
        {"role": "user", "content": [{"type": "text", "text": "a"}, IMAGE, {"type": "text", "text": "b"}]}
    ],
    "several texts": [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}
    ],
    "cache marks": [
        {"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]}
    ],
    "parallel calls and their results": [
        {"role": "user", "content": "u"},
        {"role": "assistant", "content": None, "tool_calls": [CALL, CALL | {"id": "t2"}]},
        {"role": "tool", "tool_call_id": "t1", "content": "r1"},
        {
            "role": "tool",
            "tool_call_id": "t2",
            "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
        },
        {"role": "user", "content": "go on"},
    ],
    "text beside calls": [{"role": "assistant", "content": "let me", "tool_calls": [CALL]}],
    "custom calls": [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "t", "type": "custom", "custom": {"name": "f", "input": "x"}}],
        }
    ],
    "thought signatures": [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [CALL | {"extra_content": {"google": {"thought_signature": "g"}}}],
        },
    ],
    "reasoning": [
        {
            "role": "assistant",
            "content": "a",
            "reasoning_content": "Hmm",
            "reasoning_details": [
                {
                    "type": "reasoning.text",
                    "text": "Hmm",
                    "signature": "s",
                    "format": "anthropic-claude-v1",
                    "index": 0,
                }
            ],
        }
    ],
    "refusal": [{"role": "assistant", "content": None, "refusal": "No"}],
    "audio": [{"role": "assistant", "content": None, "audio": {"id": "a1"}}],
    "older functions": [
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "r"},
    ],
    "fields of others": [{"role": "assistant", "content": "a", "prefix": True}],
    "parts of others": [{"role": "user", "content": [{"type": "new_thing", "x": 1}]}],
    "images of the model": [{"role": "assistant", "content": "here", "images": [IMAGE]}],
    "a signed text": [
        {"role": "assistant", "content": "a", "extra_content": {"google": {"thought_signature": "g"}}}
    ],
}


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_a_conversation_that_is_read_is_written_again(name: str) -> None:
    quirks = Quirks(cache_control=True, reasoning_details=name == "reasoning", tool_signatures=True)
    assert encode(decode(*CONVERSATIONS[name]), quirks, "openai_chat") == (CONVERSATIONS[name], ())


def test_results_of_one_turn_stand_in_one_message() -> None:
    messages = decode(*CONVERSATIONS["parallel calls and their results"])
    assert [message.role for message in messages] == [Role.USER, Role.ASSISTANT, Role.USER, Role.USER]
    assert messages[1].parts == [ToolCall("t1", "f", '{"a":1}'), ToolCall("t2", "f", '{"a":1}')]
    assert messages[2].parts == [ToolResult("t1", [Text("r1")]), ToolResult("t2", [Text("a"), Text("b")])]


def test_odd_spellings_are_taken() -> None:
    message = {
        "role": "assistant",
        "tool_calls": [
            {"id": "t", "function": {"name": "f", "arguments": {"a": 1}}},
            {"id": "v", "function": {"name": "g"}},
        ],
    }
    assert decode(message)[0].parts == [ToolCall("t", "f", '{"a":1}'), ToolCall("v", "g", "{}")]
    marked = decode({"role": "user", "content": "a", "cache_control": {"type": "ephemeral"}})[0]
    assert marked.parts == [Text("a", cache={"type": "ephemeral"})]
    assert decode({"role": "function", "name": "f", "content": "r"})[0].parts[0] == ToolResult(
        "call_f", [Text("r")], "f", extra=Opaque("openai_chat", {"function_call": True})
    )


@pytest.mark.parametrize(
    ("messages", "path"),
    [
        ([5], "$.messages[0]"),
        ([{"content": "a"}], "$.messages[0].role"),
        ([{"role": "robot", "content": "a"}], "$.messages[0].role"),
        ([{"role": "user", "content": 5}], "$.messages[0].content"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": 5}}]}],
            "$.messages[0].content[0].image_url.url",
        ),
        ([{"role": "user", "content": "a", "name": 5}], "$.messages[0].name"),
        ([{"role": "tool", "content": "a"}], "$.messages[0].tool_call_id"),
        ([{"role": "function", "content": "a"}], "$.messages[0].name"),
        ([{"role": "assistant", "tool_calls": {}}], "$.messages[0].tool_calls"),
        (
            [{"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]}],
            "$.messages[0].tool_calls[0].id",
        ),
        ([{"role": "assistant", "tool_calls": [{"id": "t"}]}], "$.messages[0].tool_calls[0].function"),
        (
            [{"role": "assistant", "tool_calls": [{"id": "t", "type": "x"}]}],
            "$.messages[0].tool_calls[0].type",
        ),
        (
            [{"role": "assistant", "tool_calls": [{"id": "t", "function": {"name": "f", "arguments": 5}}]}],
            "$.messages[0].tool_calls[0].function.arguments",
        ),
        ([], "$.messages"),
    ],
)
def test_a_wrong_message_is_named_by_its_path(messages: list[Any], path: str) -> None:
    with pytest.raises(BadRequest) as caught:
        decode(*messages)
    assert caught.value.path == path


def test_roles_that_the_provider_does_not_know_are_replaced() -> None:
    messages = [Message(Role.DEVELOPER, [Text("d")]), Message(Role.USER, [Text("u")])]
    assert [item["role"] for item in encode(messages, Quirks(developer_role=False))[0]] == ["system", "user"]


def test_texts_are_joined_where_lists_are_not_known() -> None:
    messages = [Message(Role.SYSTEM, [Text("a"), Text("b")]), Message(Role.USER, [])]
    assert [item["content"] for item in encode(messages, Quirks(content_lists=False))[0]] == ["a\n\nb", ""]
    listed = encode(messages)[0][0]["content"]
    assert listed == [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]


def test_media_of_a_result_are_shown_in_the_message_behind_it() -> None:
    image = Media("image", "image/png", data="QQ==")
    results = [ToolResult("t1", [Text("see"), image]), ToolResult("t2", [image])]
    out, dropped = encode([Message(Role.USER, [*results, Text("and?")])])
    assert [item["role"] for item in out] == ["tool", "tool", "user"]
    assert out[0]["content"] == "see"
    assert out[1]["content"] == "The result follows in the next message."
    assert [part["type"] for part in out[2]["content"]] == ["text", "image_url", "text", "image_url", "text"]
    assert "t1" in out[2]["content"][0]["text"]
    assert dropped == ()


def test_a_failed_result_says_so_in_words() -> None:
    out, _ = encode([Message(Role.USER, [ToolResult("t1", [Text("no such file")], is_error=True)])])
    assert out[0]["content"] == "Error: no such file"
    out, _ = encode([Message(Role.USER, [ToolResult("t1", [], is_error=True)])])
    assert out[0]["content"] == "Error: "


def test_thinking_goes_where_the_provider_takes_it() -> None:
    thoughts = assistant(Thinking("Hmm", "s", "anthropic"), Text("a"))
    assert encode(thoughts, Quirks()) == (
        [{"role": "assistant", "content": "a", "reasoning_content": "Hmm"}],
        ("thinking.signature",),
    )
    assert encode(thoughts, Quirks(reasoning_field=""))[1] == ("thinking", "thinking.signature")
    assert encode(thoughts, Quirks(reasoning_field="reasoning"))[0][0]["reasoning"] == "Hmm"
    details = encode(thoughts)[0][0]["reasoning_details"]
    assert details[0]["signature"] == "s"
    call = assistant(ToolCall("t", "f", "{}", signature="g", signed_by="gemini"))
    assert encode(call, Quirks())[1] == ("thinking.signature",)
    assert encode(call, Quirks(tool_signatures=True))[1] == ()
    text = assistant(Text("a", signature="g", signed_by="gemini"))
    assert encode(text, Quirks())[1] == ("thinking.signature",)


def test_custom_calls_become_functions_where_they_are_not_known() -> None:
    call = assistant(ToolCall("t", "f", "free text", custom=True))
    assert encode(call, Quirks())[0][0]["tool_calls"][0]["function"] == {
        "name": "f",
        "arguments": '{"input":"free text"}',
    }
    assert encode(call)[0][0]["tool_calls"][0]["custom"] == {"name": "f", "input": "free text"}


def test_what_is_marked_for_a_cache_is_named_where_it_cannot_be() -> None:
    mark = {"type": "ephemeral"}
    for part in (
        Text("a", cache=mark),
        Media("image", "image/png", data="QQ==", cache=mark),
        ToolResult("t", [Text("a")], cache=mark),
    ):
        assert encode([Message(Role.USER, [part])], Quirks())[1] == ("cache_control",)
    assert encode(assistant(ToolCall("t", "f", "{}", cache=mark)), Quirks())[1] == ("cache_control",)
    listed = encode(
        [Message(Role.USER, [Text("a", cache=mark), Media("image", "image/png", data="QQ==")])], Quirks()
    )
    assert listed[1] == ("cache_control",)


@pytest.mark.parametrize(
    ("part", "quirks"),
    [
        (Opaque("anthropic", {"type": "server_tool_use"}, "$.messages[0].content[0]"), OPEN),
        (Media("document", url="http://x/a.pdf"), OPEN),
        (Media("document", file_id="f"), OPEN),
        (Media("image", url="http://x/a.png"), Quirks(fetches_urls=False)),
        (ToolResult("t", [Opaque("anthropic", {})]), OPEN),
    ],
)
def test_content_that_chat_cannot_carry_is_refused_by_its_path(part: Part, quirks: Quirks) -> None:
    with pytest.raises(BadRequest) as caught:
        encode([Message(Role.USER, [part])], quirks)
    assert caught.value.path == "$.messages[0].content[0]"


def test_a_document_behind_a_url_goes_where_it_is_taken() -> None:
    out, _ = encode(
        [Message(Role.USER, [Media("document", url="http://x/a.pdf")])], Quirks(extra={"file_urls": True})
    )
    assert out[0]["content"][0]["file"]["file_data"] == "http://x/a.pdf"


def test_a_refusal_beside_text_is_a_part() -> None:
    out, _ = encode(assistant(Text("a"), Refusal("no")))
    assert out[0]["content"] == [{"type": "text", "text": "a"}, {"type": "refusal", "refusal": "no"}]


def test_fields_of_another_dialect_are_named() -> None:
    message = Message(Role.USER, [Text("a")], extra=Opaque("gemini", {"x": 1}, "contents[0].x"))
    assert encode([message])[1] == ("contents[0].x",)


def test_ids_and_reasoning_are_as_strict_providers_want_them() -> None:
    call = ToolCall("toolu_01ABC", "f", "{}")
    messages = [*assistant(call), Message(Role.USER, [ToolResult("toolu_01ABC", [Text("r")])])]
    out, _ = encode(messages, Quirks(short_tool_ids=True, reasoning_always=True))
    made = out[0]["tool_calls"][0]["id"]
    assert (len(made), made.isalnum(), out[1]["tool_call_id"], out[0]["reasoning_content"]) == (
        9,
        True,
        made,
        "",
    )
    kept = assistant(ToolCall("abcDEF123", "f", "{}"))
    assert encode(kept, Quirks(short_tool_ids=True))[0][0]["tool_calls"][0]["id"] == "abcDEF123"


def test_documents_of_text_stand_as_text_also_in_results() -> None:
    found = Media("document", "text/plain", text="t", name="n", context="c")
    table = Media("document", "text/csv", data="YSxi")
    messages = [
        *assistant(ToolCall("t1", "f", "{}")),
        Message(Role.USER, [ToolResult("t1", [found]), found, table]),
    ]
    out, _ = encode(messages)
    assert out[1] == {"role": "tool", "tool_call_id": "t1", "content": "n\nc\n\nt"}
    assert out[2]["content"] == [
        {"type": "text", "text": "n\nc\n\nt"},
        {"type": "text", "text": "a,b"},
    ]
    with pytest.raises(BadRequest) as caught:
        encode([Message(Role.USER, [Media("document", "text/csv", data="/w==")])])
    assert caught.value.param == "messages[0].content[0]"


def test_what_is_said_of_a_file_stands_before_it() -> None:
    media = Media("document", "application/pdf", data="QQ==", name="a.pdf", context="c", citations=True)
    (message,), dropped = encode([Message(Role.USER, [media])])
    file = {"filename": "a.pdf", "file_data": "data:application/pdf;base64,QQ=="}
    assert message["content"] == [{"type": "text", "text": "c"}, {"type": "file", "file": file}]
    assert dropped == ("citations",)


def test_citations_of_another_dialect_are_named() -> None:
    assert encode(assistant(Text("a", citations=[Opaque("anthropic", {})])))[1] == ("citations",)


def test_calls_and_results_within_content_are_read() -> None:
    source = {"type": "base64", "media_type": "image/png", "data": "QQ=="}
    result = {
        "type": "tool_result",
        "tool_use_id": "t1",
        "content": [{"type": "image", "source": source}],
        "is_error": True,
    }
    linked = {"type": "image", "source": {"type": "url", "url": "https://a.org/a.png"}}
    messages = decode(
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "a"},
                {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}},
                {"type": "tool_use", "id": "t2", "name": "f"},
            ],
        },
        {"role": "user", "content": [{"type": "text", "text": "b"}, linked, result]},
        {"role": "user", "name": "bob", "content": [{"type": "text", "text": "c"}, result]},
    )
    read = ToolResult("t1", [Media("image", "image/png", data="QQ==")], is_error=True)
    assert messages == [
        Message(Role.ASSISTANT, [Text("a"), ToolCall("t1", "f", '{"a":1}'), ToolCall("t2", "f", "{}")]),
        Message(Role.USER, [read, Text("b"), Media("image", url="https://a.org/a.png")]),
        Message(Role.USER, [read, Text("c")], "bob"),
    ]
    calls = encode(messages[:1])[0][0]["tool_calls"]
    assert [call["function"]["arguments"] for call in calls] == ['{"a":1}', "{}"]
