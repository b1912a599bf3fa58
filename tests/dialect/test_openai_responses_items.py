from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from apipod_proxy.dialect.openai_responses_items import ItemsReader, ItemsWriter, flat_name
from apipod_proxy.dialect.signatures import wrap
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
    Tool,
    ToolCall,
    ToolResult,
)
from apipod_proxy.errors import BadRequest

NAME = "openai_responses"
PNG = "iVBORw0KGgo="


def read(*items: Any) -> list[Message]:
    reader = ItemsReader()
    reader.read(list(items), "$.input")
    return reader.messages


def write(*messages: Message, tools: Sequence[Tool] = (), **options: Any) -> ItemsWriter:
    writer = ItemsWriter(Call("openai_chat", "m", list(messages), tools=list(tools)), **options)
    writer.write()
    return writer


def message(role: str, *content: Any, **more: Any) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": list(content), **more}


def test_a_plain_string_is_what_the_user_says() -> None:
    reader = ItemsReader()
    reader.read("hi", "$.input")
    assert reader.messages == [Message(Role.USER, [Text("hi")])]


CONTENT: dict[str, tuple[dict[str, Any], Part]] = {
    "text": ({"type": "input_text", "text": "hi"}, Text("hi")),
    "an image by data URL": (
        {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"},
        Media("image", "image/png", PNG),
    ),
    "an image by URL with its detail": (
        {"type": "input_image", "image_url": "https://e.com/a.png", "detail": "low"},
        Media("image", "image/png", url="https://e.com/a.png", detail="low"),
    ),
    "an image by id": ({"type": "input_image", "file_id": "file-1"}, Media("image", file_id="file-1")),
    "a file": (
        {"type": "input_file", "filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PNG}"},
        Media("document", "application/pdf", PNG, name="a.pdf"),
    ),
    "a file by URL": (
        {"type": "input_file", "file_url": "https://e.com/a.pdf"},
        Media("document", "application/pdf", url="https://e.com/a.pdf"),
    ),
    "a file by id": ({"type": "input_file", "file_id": "file-1"}, Media("document", file_id="file-1")),
    "audio": (
        {"type": "input_audio", "input_audio": {"data": PNG, "format": "mp3"}},
        Media("audio", "audio/mpeg", PNG),
    ),
    "what is new": (
        {"type": "input_video", "video": "x"},
        Opaque(NAME, {"type": "input_video", "video": "x"}, "$.input[0].content[0]"),
    ),
}


@pytest.mark.parametrize("name", CONTENT)
def test_content_survives_there_and_back(name: str) -> None:
    wire, part = CONTENT[name]
    item = message("user", wire)
    assert read(item) == [Message(Role.USER, [part])]
    assert write(*read(item)).items == [item]


READ_ONLY: dict[str, tuple[Any, Part]] = {
    "an image in the form of Chat": (
        {"type": "input_image", "image_url": {"url": "https://e.com/a.png"}},
        Media("image", "image/png", url="https://e.com/a.png"),
    ),
    "a file that is no data URL": (
        {"type": "input_file", "filename": "a.csv", "file_data": PNG},
        Media("document", "text/csv", PNG, name="a.csv"),
    ),
    "audio as a file": (
        {"type": "input_file", "file_url": "https://e.com/a.wav"},
        Media("audio", "audio/wav", url="https://e.com/a.wav"),
    ),
    "a mark of the cache": (
        {"type": "input_text", "text": "x", "prompt_cache_breakpoint": {"mode": "explicit"}},
        Text("x", cache={"type": "ephemeral"}),
    ),
}


@pytest.mark.parametrize("name", READ_ONLY)
def test_content_is_taken_in_other_forms(name: str) -> None:
    wire, part = READ_ONLY[name]
    assert read(message("user", wire)) == [Message(Role.USER, [part])]


@pytest.mark.parametrize(
    "item", [{"role": "user", "content": "hi"}, {"type": "message", "role": "user", "content": "hi"}]
)
def test_messages_may_be_easy(item: dict[str, Any]) -> None:
    assert read(item) == [Message(Role.USER, [Text("hi")])]


def test_all_roles_are_kept() -> None:
    items = [message(role, {"type": "input_text", "text": role}) for role in ("system", "developer", "user")]
    assert [found.role.value for found in read(*items)] == ["system", "developer", "user"]
    assert write(*read(*items)).items == items


TURN: list[dict[str, Any]] = [
    {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "b"}],
        "encrypted_content": "gAAA",
    },
    message(
        "assistant",
        {"type": "output_text", "text": "one", "annotations": []},
        id="msg_1",
        status="completed",
        phase="commentary",
    ),
    {
        "type": "function_call",
        "id": "fc_1",
        "call_id": "c1",
        "name": "f",
        "arguments": '{"a":1}',
        "status": "completed",
    },
    {"type": "custom_tool_call", "call_id": "c2", "name": "patch", "input": "*** text"},
    message(
        "assistant",
        {"type": "output_text", "text": "two", "annotations": [{"type": "url_citation", "url": "u"}]},
        {"type": "refusal", "refusal": "no"},
        id="msg_2",
    ),
    {"type": "web_search_call", "id": "ws_1", "status": "completed"},
    {"type": "function_call_output", "call_id": "c1", "output": "done", "id": "fco_1"},
    {
        "type": "custom_tool_call_output",
        "call_id": "c2",
        "output": [
            {"type": "input_text", "text": "x"},
            {"type": "input_image", "image_url": "https://e.com/a.png"},
        ],
    },
]


def test_a_turn_of_the_model_is_one_message_and_comes_out_as_its_items() -> None:
    messages = read(*TURN)
    assert [found.role for found in messages] == [Role.ASSISTANT, Role.USER]
    assert messages[0].parts[:1] == [Thinking("a\n\nb", "gAAA", NAME, extra=Opaque(NAME, TURN[0]))]
    assert messages[0].parts[2:4] == [
        ToolCall("c1", "f", '{"a":1}', extra=Opaque(NAME, {"id": "fc_1", "status": "completed"})),
        ToolCall("c2", "patch", "*** text", custom=True),
    ]
    assert messages[0].parts[-1] == Opaque(NAME, TURN[5], "$.input[5]")
    assert [part.call_id for part in messages[1].parts if isinstance(part, ToolResult)] == ["c1", "c2"]
    assert write(*messages).items == TURN


@pytest.mark.parametrize(
    "item",
    [
        {"type": "item_reference", "id": "msg_1"},
        {"id": "msg_1"},
        {"type": "compaction", "encrypted_content": "x"},
        {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "QQ=="},
        {"type": "image_generation_call", "id": "ig_1", "status": "failed", "result": None},
        {"type": "tool_search_output", "call_id": "c", "tools": []},
        {"type": "mcp_approval_response", "approve": True},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [],
            "content": [{"type": "reasoning_text", "text": "hm"}],
        },
        {"type": "reasoning", "summary": [], "encrypted_content": "gAAA"},
    ],
)
def test_items_of_the_provider_travel_as_they_are(item: dict[str, Any]) -> None:
    assert write(*read(item)).items == [item]


def test_an_image_that_the_model_made_is_one_for_other_models() -> None:
    item = {"type": "image_generation_call", "id": "ig_1", "result": "QQ==", "output_format": "jpeg"}
    assert read(item)[0].parts == [Media("image", "image/jpeg", "QQ==", extra=Opaque(NAME, item))]


WRONG: list[tuple[Any, str]] = [
    (3, "$.input[0]"),
    ({"type": "message"}, "$.input[0].role"),
    ({"role": "robot", "content": ""}, "$.input[0].role"),
    ({"role": "user", "content": 3}, "$.input[0].content"),
    ({"role": "user", "content": [{"text": "x"}]}, "$.input[0].content[0].type"),
    ({"role": "user", "content": [{"type": "input_text"}]}, "$.input[0].content[0].text"),
    ({"role": "user", "content": [{"type": "input_image"}]}, "$.input[0].content[0].image_url"),
    ({"role": "user", "content": [{"type": "input_file"}]}, "$.input[0].content[0].file_url"),
    (
        {"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]},
        "$.input[0].content[0].input_audio.data",
    ),
    ({"type": "function_call", "name": "f"}, "$.input[0].call_id"),
    ({"type": "function_call", "call_id": "c", "name": "f", "arguments": {}}, "$.input[0].arguments"),
    ({"type": "custom_tool_call", "call_id": "c"}, "$.input[0].name"),
    ({"type": "function_call_output", "output": "x"}, "$.input[0].call_id"),
    ({"type": "function_call_output", "call_id": "c", "output": 3}, "$.input[0].output"),
    ({"type": "reasoning", "summary": "x"}, "$.input[0].summary"),
    ({"type": "additional_tools", "tools": 3}, "$.input[0].tools"),
]


@pytest.mark.parametrize(("item", "path"), WRONG)
def test_what_is_wrong_is_named_with_its_path(item: Any, path: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read(item)
    assert caught.value.path == path


def test_tools_among_the_items_are_gathered() -> None:
    reader = ItemsReader()
    reader.read(
        [{"type": "additional_tools", "role": "developer", "tools": [{"type": "function", "name": "f"}]}],
        "$.input",
    )
    assert reader.messages == []
    assert reader.tools == [({"type": "function", "name": "f"}, "$.input[0].tools[0]")]


# Reasoning of other providers


def test_signatures_of_others_come_back_to_where_they_stood() -> None:
    def sealed(text: str, summary: str = "") -> dict[str, Any]:
        parts = [{"type": "summary_text", "text": summary}] if summary else []
        return {"type": "reasoning", "summary": parts, "encrypted_content": text}

    (found,) = read(
        sealed(wrap("s1", "anthropic"), "hm"),
        sealed(wrap("s2", "anthropic", "redacted")),
        message("assistant", {"type": "output_text", "text": "hi"}),
        sealed(wrap("s3", "gemini", "text")),
        sealed(wrap("s4", "gemini", "call")),
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
    )
    assert found.parts == [
        Thinking("hm", "s1", "anthropic"),
        Thinking("", "s2", "anthropic", redacted=True),
        Text("hi", signature="s3", signed_by="gemini"),
        ToolCall("c", "f", "{}", signature="s4", signed_by="gemini"),
    ]


def test_a_signature_of_a_text_without_its_text_is_kept() -> None:
    (found,) = read({"type": "reasoning", "summary": [], "encrypted_content": wrap("s", "gemini", "text")})
    assert found.parts == [Text("", signature="s", signed_by="gemini")]


def test_own_reasoning_without_a_summary_is_redacted_elsewhere() -> None:
    (found,) = read({"type": "reasoning", "summary": [], "encrypted_content": "gAAA"})
    assert isinstance(found.parts[0], Thinking)
    assert found.parts[0].redacted


def test_reasoning_of_others_is_left_out_and_named() -> None:
    writer = write(
        Message(
            Role.ASSISTANT,
            [
                Thinking("hm", "s", "anthropic"),
                Thinking("hm"),
                Text("hi", signature="s", signed_by="gemini"),
                ToolCall("c", "f", "", signature="s", signed_by="gemini"),
            ],
        )
    )
    assert [item["type"] for item in writer.items] == ["message", "function_call"]
    assert writer.items[1]["arguments"] == "{}"
    assert writer.dropped == ["thinking"]


def test_own_reasoning_that_went_through_another_dialect_comes_back() -> None:
    writer = write(
        Message(Role.ASSISTANT, [Thinking("hm", "gAAA", NAME), Thinking("", "gBBB", NAME, redacted=True)])
    )
    assert writer.items == [
        {
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": "hm"}],
            "encrypted_content": "gAAA",
        },
        {"type": "reasoning", "summary": [], "encrypted_content": "gBBB"},
    ]


# Namespaces


@pytest.mark.parametrize(
    ("space", "name", "flat"), [(None, "f", "f"), ("f", "f", "f"), ("mcp", "f", "mcp__f")]
)
def test_names_are_flat_where_there_are_no_namespaces(space: str | None, name: str, flat: str) -> None:
    assert flat_name(space, name) == flat


def test_calls_in_a_namespace_come_out_in_it() -> None:
    item = {"type": "function_call", "call_id": "c", "name": "f", "namespace": "mcp", "arguments": "{}"}
    messages = read(item)
    assert isinstance(messages[0].parts[0], ToolCall)
    assert messages[0].parts[0].name == "mcp__f"
    assert write(*messages).items == [item]
    tool = Tool("mcp__f", extra=Opaque(NAME, {"namespace": "mcp", "name": "f"}))
    foreign = Message(Role.ASSISTANT, [ToolCall("c", "mcp__f", "{}")])
    assert write(foreign, tools=[tool]).items == [item]


# Towards Responses


def test_results_with_one_text_are_strings_and_all_others_lists() -> None:
    results: list[Part] = [
        ToolResult("a", [Text("x")]),
        ToolResult("b", []),
        ToolResult("c", [Text("x"), Media("image", "image/png", PNG)], custom=True),
        ToolResult("d", [Text("bad", cache={"type": "ephemeral"})], is_error=True),
    ]
    writer = write(Message(Role.USER, [*results, Text("so?")]))
    assert [item.get("output") for item in writer.items[:4]] == [
        "x",
        "",
        [
            {"type": "input_text", "text": "x"},
            {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"},
        ],
        "Error: bad",
    ]
    assert writer.items[2]["type"] == "custom_tool_call_output"
    assert writer.items[4] == message("user", {"type": "input_text", "text": "so?"})


MEDIA: dict[str, tuple[Media, dict[str, Any]]] = {
    "a text file": (
        Media("document", "text/plain", text="hello", name="a.txt", context="about"),
        {"type": "input_text", "text": "a.txt\nabout\n\nhello"},
    ),
    "a text without a name": (
        Media("document", "text/plain", text="hello"),
        {"type": "input_text", "text": "hello"},
    ),
    "a file without a name": (
        Media("document", "text/csv", PNG),
        {"type": "input_file", "filename": "document.csv", "file_data": f"data:text/csv;base64,{PNG}"},
    ),
    "a film": (
        Media("video", "video/mp4", PNG),
        {"type": "input_file", "filename": "document.mp4", "file_data": f"data:video/mp4;base64,{PNG}"},
    ),
    "a recording by URL": (
        Media("audio", url="https://e.com/a.wav"),
        {"type": "input_file", "file_url": "https://e.com/a.wav"},
    ),
    "a recording": (
        Media("audio", "audio/x-wav", PNG),
        {"type": "input_audio", "input_audio": {"data": PNG, "format": "wav"}},
    ),
}


@pytest.mark.parametrize("name", MEDIA)
def test_media_of_other_dialects_are_written(name: str) -> None:
    media, expected = MEDIA[name]
    assert write(Message(Role.USER, [media])).items == [message("user", expected)]


def test_marks_are_named() -> None:
    media = Media(
        "document", "application/pdf", PNG, citations=True, cache={"type": "ephemeral"}, context="about"
    )
    assert write(Message(Role.USER, [media])).dropped == ["cache_control", "citations", "context"]
    cited = Text("x", citations=[Opaque("anthropic", {})])
    assert write(Message(Role.ASSISTANT, [cited])).dropped == ["citations"]


REFUSED: dict[str, tuple[Message, dict[str, Any]]] = {
    "a URL that nobody loads": (
        Message(Role.USER, [Media("image", url="https://e.com/a")]),
        {"fetches_urls": False},
    ),
    "a file stored elsewhere": (Message(Role.USER, [Media("image", file_id="gs://a/b")]), {}),
    "a document stored elsewhere": (Message(Role.USER, [Media("document", file_id="gs://a/b")]), {}),
    "what only another dialect knows": (Message(Role.USER, [Opaque("anthropic", {"type": "x"})]), {}),
    "what only another dialect's model says": (
        Message(Role.ASSISTANT, [Opaque("anthropic", {"type": "x"})]),
        {},
    ),
    "an image by the model": (Message(Role.ASSISTANT, [Media("image", "image/png", PNG)]), {}),
    "a call by the user": (Message(Role.USER, [ToolCall("c", "f", "{}")]), {}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_content_that_cannot_be_carried_is_refused_with_its_place(name: str) -> None:
    found, options = REFUSED[name]
    with pytest.raises(BadRequest) as caught:
        write(found, **options)
    assert caught.value.path == "$.messages[0].content[0]"


def test_text_of_the_model_is_one_item_until_something_else_comes() -> None:
    writer = write(
        Message(Role.ASSISTANT, [Text("a"), Text(""), Refusal("no"), ToolCall("c", "f", "{}"), Text("b")])
    )
    assert [item["type"] for item in writer.items] == ["message", "function_call", "message"]
    assert [part["type"] for part in writer.items[0]["content"]] == ["output_text", "refusal"]


def test_top_level_fields_among_the_parts_come_out() -> None:
    writer = write(
        Message(Role.SYSTEM, [Text("be brief")], extra=Opaque(NAME, {"instructions": True})),
        Message(Role.USER, [Opaque(NAME, {"field": {"background": True}}, "$.background")]),
    )
    assert writer.fields == {"instructions": "be brief", "background": True}
    assert writer.items == []


def test_new_content_of_the_model_survives() -> None:
    item = message("assistant", {"type": "output_audio", "data": "x"})
    assert write(*read(item)).items == [item]


def test_a_refusal_by_the_user_is_text() -> None:
    writer = write(Message(Role.USER, [Refusal("no")]))
    assert writer.items == [message("user", {"type": "input_text", "text": "no"})]


def test_a_result_with_content_that_cannot_be_carried_is_refused() -> None:
    with pytest.raises(BadRequest) as caught:
        write(Message(Role.USER, [ToolResult("c", [Text("x"), Opaque("anthropic", {})])]))
    assert caught.value.path == "$.messages[0].content[0].content[1]"


def test_a_result_follows_its_call_whatever_was_said_before_it_came() -> None:
    call = {"type": "function_call", "name": "f", "arguments": "{}"}
    result = {"type": "function_call_output"}
    messages = read(
        {"role": "user", "content": "q"},
        {**call, "call_id": "a"},
        {**call, "call_id": "b"},
        {**result, "call_id": "b", "output": "1"},
        {"role": "developer", "content": "d"},
        {**result, "call_id": "a", "output": "2"},
        {"role": "user", "content": "hurry"},
        {**call, "call_id": "c"},
        {"role": "user", "content": "now"},
        {**call, "call_id": "d"},
        {**result, "call_id": "d", "output": "3"},
        {**result, "call_id": "c", "output": "4"},
        {**result, "call_id": "unknown", "output": "5"},
    )
    told = [
        (message.role, [getattr(part, "call_id", getattr(part, "text", "call")) for part in message.parts])
        for message in messages
    ]
    assert told == [
        (Role.USER, ["q"]),
        (Role.ASSISTANT, ["call", "call"]),
        (Role.USER, ["b", "a"]),
        (Role.DEVELOPER, ["d"]),
        (Role.USER, ["hurry"]),
        (Role.ASSISTANT, ["call"]),
        (Role.USER, ["c"]),
        (Role.USER, ["now"]),
        (Role.ASSISTANT, ["call"]),
        (Role.USER, ["d", "unknown"]),
    ]
