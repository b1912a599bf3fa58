from __future__ import annotations

import base64
from typing import Any

import pytest

from apipod_proxy.dialect.gemini_parts import (
    ContentsReader,
    ContentsWriter,
    wants_signatures,
)
from apipod_proxy.dialect.signatures import wrap_base64
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

PNG = "iVBORw0KGgo="


def read(*contents: Any) -> list[Message]:
    return ContentsReader().read(list(contents), "$.contents")


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "parts": list(parts)}


def model(*parts: Any) -> dict[str, Any]:
    return {"role": "model", "parts": list(parts)}


def write(*messages: Message, model: str = "gemini-2.5-flash", **options: Any) -> ContentsWriter:
    writer = ContentsWriter(Call("openai_chat", "m", list(messages)), model, **options)
    writer.write()
    return writer


PARTS: dict[str, tuple[dict[str, Any], Part]] = {
    "text": ({"text": "hi"}, Text("hi")),
    "signed text": (
        {"text": "hi", "thoughtSignature": "AQ=="},
        Text("hi", signature="AQ==", signed_by="gemini"),
    ),
    "a signature alone": (
        {"text": "", "thought_signature": "AQ=="},
        Text("", signature="AQ==", signed_by="gemini"),
    ),
    "inline data": ({"inlineData": {"mimeType": "image/png", "data": PNG}}, Media("image", "image/png", PNG)),
    "inline data in snake case and the URL alphabet": (
        {"inline_data": {"mime_type": "image/png", "data": "-_8"}},
        Media("image", "image/png", "+/8="),
    ),
    "plain text as a file": (
        {"inlineData": {"mimeType": "text/plain", "data": base64.b64encode("é".encode()).decode()}},
        Media("document", "text/plain", text="é"),
    ),
    "a file by URL": (
        {"fileData": {"fileUri": "https://example.com/a.pdf", "mimeType": "application/pdf"}},
        Media("document", "application/pdf", url="https://example.com/a.pdf"),
    ),
    "a file by URL without a type": (
        {"file_data": {"file_uri": "https://example.com/a.wav"}},
        Media("audio", "audio/wav", url="https://example.com/a.wav"),
    ),
    "a film": (
        {"fileData": {"fileUri": "https://www.youtube.com/watch?v=x"}},
        Media("video", url="https://www.youtube.com/watch?v=x"),
    ),
    "a film with a type": (
        {"fileData": {"fileUri": "https://www.youtube.com/watch?v=x", "mimeType": "video/mp4"}},
        Media("video", "video/mp4", url="https://www.youtube.com/watch?v=x"),
    ),
    "a stored file": (
        {"fileData": {"fileUri": "gs://bucket/a.png", "mimeType": "image/png"}},
        Media("image", "image/png", file_id="gs://bucket/a.png"),
    ),
    "an uploaded file": (
        {
            "fileData": {
                "fileUri": "https://generativelanguage.googleapis.com/v1beta/files/abc",
                "mimeType": "image/png",
            }
        },
        Media("image", "image/png", file_id="https://generativelanguage.googleapis.com/v1beta/files/abc"),
    ),
    "what stands beside a film": (
        {"fileData": {"fileUri": "gs://b/a.mp4", "mimeType": "video/mp4"}, "videoMetadata": {"fps": 2}},
        Media(
            "video",
            "video/mp4",
            file_id="gs://b/a.mp4",
            extra=Opaque("gemini", {"videoMetadata": {"fps": 2}}),
        ),
    ),
    "code that ran": (
        {"executableCode": {"language": "PYTHON", "code": "1"}},
        Opaque(
            "gemini",
            {"executableCode": {"language": "PYTHON", "code": "1"}},
            "$.contents[0].parts[0].executableCode",
        ),
    ),
}


@pytest.mark.parametrize("name", PARTS)
def test_reads_a_part(name: str) -> None:
    wire, part = PARTS[name]
    assert read(user(wire)) == [Message(Role.USER, [part])]


@pytest.mark.parametrize("name", PARTS)
def test_writes_back_what_it_read(name: str) -> None:
    first = read(model(PARTS[name][0]))
    written = write(*first).contents
    assert read(*written) == first


@pytest.mark.parametrize(
    "contents",
    [
        "hi",
        {"text": "hi"},
        {"parts": [{"text": "hi"}]},
        {"parts": {"text": "hi"}},
        ["hi"],
        {"role": "user", "parts": ["hi"]},
        [{"text": "hi"}],
    ],
)
def test_contents_come_in_many_forms(contents: Any) -> None:
    assert ContentsReader().read(contents, "$.contents") == [Message(Role.USER, [Text("hi")])]


WRONG: list[tuple[Any, str]] = [
    (3, "$.contents"),
    ([3], "$.contents[0]"),
    ([{"role": "system", "parts": []}], "$.contents[0].role"),
    ([{"role": 3, "parts": []}], "$.contents[0].role"),
    ([{"role": "user", "parts": 3}], "$.contents[0].parts"),
    ([user({"text": 3})], "$.contents[0].parts[0].text"),
    ([user({"inlineData": {"mimeType": "a"}})], "$.contents[0].parts[0].inlineData.data"),
    ([user({"inlineData": []})], "$.contents[0].parts[0].inlineData"),
    ([user({"fileData": {}})], "$.contents[0].parts[0].fileData.fileUri"),
    ([model({"functionCall": {}})], "$.contents[0].parts[0].functionCall.name"),
    ([model({"functionCall": {"name": "f", "args": "x"}})], "$.contents[0].parts[0].functionCall.args"),
    ([user({"functionResponse": []})], "$.contents[0].parts[0].functionResponse"),
    ([user({"text": "a", "thoughtSignature": 1})], "$.contents[0].parts[0].thoughtSignature"),
    ([user({"inlineData": {}, "inline_data": {}})], "$.contents[0].parts[0].inlineData"),
]


@pytest.mark.parametrize(("contents", "path"), WRONG)
def test_what_is_wrong_is_named_with_its_path(contents: Any, path: str) -> None:
    with pytest.raises(BadRequest) as caught:
        ContentsReader().read(contents, "$.contents")
    assert caught.value.path == path


# Calls


def test_calls_without_ids_get_distinct_ones_and_their_responses_find_them_in_order() -> None:
    messages = read(
        model(
            {"functionCall": {"name": "f", "args": {"n": 1}}},
            {"functionCall": {"name": "f", "args": {"n": 2}}},
        ),
        user(
            {"functionResponse": {"name": "f", "response": {"output": "1"}}},
            {"functionResponse": {"name": "f", "response": {"output": "2"}}},
        ),
        model({"functionCall": {"name": "f"}}),
        user({"functionResponse": {"name": "f", "response": {"output": "3"}}}),
    )
    calls = [part.id for message in messages for part in message.parts if isinstance(part, ToolCall)]
    results = [part.call_id for message in messages for part in message.parts if isinstance(part, ToolResult)]
    assert calls == results == ["call_0_0", "call_0_1", "call_2_0"]


def test_calls_with_ids_keep_them() -> None:
    messages = read(
        model({"functionCall": {"id": "a", "name": "f"}}, {"functionCall": {"id": "b", "name": "f"}}),
        user(
            {"function_response": {"id": "b", "name": "f", "response": {}}},
            {"functionResponse": {"id": "a", "name": "f", "response": {}}},
        ),
    )
    assert [part.call_id for part in messages[1].parts if isinstance(part, ToolResult)] == ["b", "a"]
    assert [part["functionResponse"]["id"] for part in write(*messages).contents[1]["parts"]] == ["b", "a"]


def test_calls_without_ids_are_written_without_ids() -> None:
    contents = [
        model({"functionCall": {"name": "f", "args": {}}}),
        user({"functionResponse": {"name": "f", "response": {"output": "x"}}}),
    ]
    assert write(*read(*contents)).contents == contents


def test_results_stand_in_front_of_other_parts() -> None:
    (message,) = read(user({"text": "and"}, {"functionResponse": {"name": "f", "response": {}}}))
    assert [type(part) for part in message.parts] == [ToolResult, Text]


RESULTS: dict[str, tuple[Any, ToolResult]] = {
    "text": ({"output": "x"}, ToolResult("call_0_0", [Text("x")])),
    "texts": ({"output": ["x", "y"]}, ToolResult("call_0_0", [Text("x"), Text("y")])),
    "an error": ({"error": "x"}, ToolResult("call_0_0", [Text("x")], is_error=True)),
    "an error with details": (
        {"error": {"code": 1}},
        ToolResult("call_0_0", [Text('{"error":{"code":1}}')], is_error=True, json={"error": {"code": 1}}),
    ),
    "an object": ({"a": 1}, ToolResult("call_0_0", [Text('{"a":1}')], json={"a": 1})),
    "what the SDK's own calls give": (
        {"result": "x"},
        ToolResult("call_0_0", [Text('{"result":"x"}')], json={"result": "x"}),
    ),
    "nothing": ({}, ToolResult("call_0_0", [], json={})),
}


@pytest.mark.parametrize("name", RESULTS)
def test_results_survive_there_and_back(name: str) -> None:
    response, expected = RESULTS[name]
    contents = [
        model({"functionCall": {"name": "f", "args": {}}}),
        user({"functionResponse": {"name": "f", "response": response}}),
    ]
    messages = read(*contents)
    (result,) = messages[1].parts
    assert isinstance(result, ToolResult)
    assert (result.content, result.is_error, result.json) == (
        expected.content,
        expected.is_error,
        expected.json,
    )
    assert write(*messages).contents == contents


def call(name: str = "f", call_id: str = "c1", **more: Any) -> Message:
    return Message(Role.ASSISTANT, [ToolCall(call_id, name, "{}", **more)])


def test_images_of_results_stand_inside_from_the_third_generation_on() -> None:
    result = Message(
        Role.USER, [ToolResult("c1", [Text("see"), Media("image", "image/png", PNG)]), Text("well?")]
    )
    image = {"inlineData": {"mimeType": "image/png", "data": PNG}}
    response = {"name": "f", "response": {"output": "see"}, "id": "c1"}
    old = write(call(), result, model="gemini-2.5-pro").contents[1]["parts"]
    assert old == [{"functionResponse": response}, image, {"text": "well?"}]
    new = write(call(), result, model="gemini-3-flash").contents[1]["parts"]
    assert new == [{"functionResponse": {**response, "parts": [image]}}, {"text": "well?"}]
    told = write(call(), result, model="gemini-2.5-pro", response_parts=True).contents[1]["parts"]
    assert told == new


def test_a_result_with_an_image_alone_says_nothing_else() -> None:
    written = write(
        call(),
        Message(Role.USER, [ToolResult("c1", [Media("image", "image/png", PNG)])]),
        model="gemini-3-pro",
    )
    assert written.contents[1]["parts"][0]["functionResponse"]["response"] == {}


def test_an_error_without_text_is_still_an_error() -> None:
    written = write(call(), Message(Role.USER, [ToolResult("c1", [], is_error=True)]))
    assert written.contents[1]["parts"][0]["functionResponse"]["response"] == {"error": ""}


def test_a_result_without_its_call_is_refused() -> None:
    with pytest.raises(BadRequest, match="No tool call with the id 'c9'"):
        write(Message(Role.USER, [ToolResult("c9", [Text("x")])]))


def test_a_custom_call_has_its_text_as_input() -> None:
    written = write(Message(Role.ASSISTANT, [ToolCall("c1", "f", "some text", custom=True)]))
    assert written.contents[0]["parts"][0]["functionCall"]["args"] == {"input": "some text"}


# Thinking and signatures


def test_a_thought_that_came_in_pieces_is_one() -> None:
    (message,) = read(
        model(
            {"text": "a", "thought": True},
            {"text": "b", "thought": True, "thoughtSignature": "AQ=="},
            {"text": "c", "thought": True},
        )
    )
    assert message.parts == [Thinking("ab", "AQ==", "gemini"), Thinking("c")]


def test_signatures_of_others_come_back_to_them() -> None:
    sealed = wrap_base64("sig+/=", "anthropic")
    as_sdks_send_it = sealed.translate(str.maketrans("+/", "-_"))
    hidden = wrap_base64("data", "anthropic", "redacted")
    (message,) = read(
        model(
            {"text": "hm", "thought": True},
            {"text": "", "thought": True, "thoughtSignature": as_sdks_send_it},
            {"text": "", "thought": True, "thoughtSignature": hidden},
        )
    )
    assert message.parts == [
        Thinking("hm", "sig+/=", "anthropic"),
        Thinking("", "data", "anthropic", redacted=True),
    ]


@pytest.mark.parametrize(
    "stand_in",
    [
        "skip_thought_signature_validator",
        "skip/thought/signature/validator",
        "c2tpcF90aG91Z2h0X3NpZ25hdHVyZV92YWxpZGF0b3I=",
    ],
)
def test_a_stand_in_for_a_signature_is_none(stand_in: str) -> None:
    (message,) = read(model({"functionCall": {"name": "f"}, "thoughtSignature": stand_in}))
    assert isinstance(message.parts[0], ToolCall)
    assert message.parts[0].signature is None


def test_thinking_of_another_model_is_left_out_and_named() -> None:
    writer = write(
        Message(
            Role.ASSISTANT,
            [
                Thinking("hm", "s", "anthropic"),
                Thinking("", "d", "anthropic", redacted=True),
                Text("hi", signature="x", signed_by="other"),
            ],
        )
    )
    assert writer.contents == [model({"text": "hi"})]
    assert writer.dropped == ["thinking"]


def test_thinking_without_a_signature_stays() -> None:
    assert write(Message(Role.ASSISTANT, [Thinking("hm"), Text("hi")])).contents == [
        model({"text": "hm", "thought": True}, {"text": "hi"})
    ]


def test_a_signature_before_a_call_moves_onto_it() -> None:
    message = Message(Role.ASSISTANT, [Thinking("hm", "AQ==", "gemini"), ToolCall("c1", "f", "{}")])
    assert write(message).contents[0]["parts"] == [
        {"text": "hm", "thought": True},
        {"functionCall": {"name": "f", "args": {}, "id": "c1"}, "thoughtSignature": "AQ=="},
    ]


def test_the_first_call_of_another_model_gets_a_stand_in_for_its_signature() -> None:
    calls = Message(Role.ASSISTANT, [ToolCall("a", "f", "{}"), ToolCall("b", "f", "{}")])
    new = write(calls, model="gemini-3.1-pro").contents[0]["parts"]
    assert [part.get("thoughtSignature") for part in new] == ["skip_thought_signature_validator", None]
    assert all("thoughtSignature" not in part for part in write(calls).contents[0]["parts"])


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("gemini-2.5-pro", False),
        ("gemini-3-flash", True),
        ("gemini-flash-latest", True),
        ("gemma-3-27b-it", False),
    ],
)
def test_names_tell_which_models_want_signatures(name: str, wanted: bool) -> None:
    assert wants_signatures(name) is wanted


# Messages


def test_system_text_stands_apart_in_front_and_in_its_place_later() -> None:
    writer = write(
        Message(Role.SYSTEM, [Text("a", cache={"type": "ephemeral"})]),
        Message(Role.DEVELOPER, [Text("b")]),
        Message(Role.USER, [Text("c")]),
        Message(Role.SYSTEM, [Text("d")]),
        Message(Role.USER, [Text("e")]),
    )
    assert writer.system == [{"text": "a"}, {"text": "b"}]
    assert writer.contents == [user({"text": "c"}, {"text": "<system>\nd\n</system>"}, {"text": "e"})]
    assert writer.dropped == ["cache_control"]


def test_an_instruction_alone_is_asked() -> None:
    writer = write(Message(Role.SYSTEM, [Text("a")]))
    assert (writer.system, writer.contents) == ([], [user({"text": "a"})])


def test_neighbours_of_one_role_become_one_turn() -> None:
    writer = write(
        Message(Role.USER, [Text("a")]),
        Message(Role.USER, [Text("b")]),
        Message(Role.ASSISTANT, [Refusal("no")]),
        Message(Role.ASSISTANT, []),
    )
    assert writer.contents == [user({"text": "a"}, {"text": "b"}), model({"text": "no"})]


MEDIA: dict[str, tuple[Media, list[dict[str, Any]]]] = {
    "base64": (Media("image", "image/png", PNG), [{"inlineData": {"mimeType": "image/png", "data": PNG}}]),
    "base64 without a type": (
        Media("document", None, PNG, name="a.csv"),
        [{"inlineData": {"mimeType": "text/csv", "data": PNG}}],
    ),
    "text": (
        Media("document", "text/plain", text="é"),
        [{"inlineData": {"mimeType": "text/plain", "data": "w6k="}}],
    ),
    "a URL": (
        Media("image", url="https://e.com/a.webp"),
        [{"fileData": {"fileUri": "https://e.com/a.webp", "mimeType": "image/webp"}}],
    ),
    "a URL without an ending": (
        Media("image", url="https://e.com/a"),
        [{"fileData": {"fileUri": "https://e.com/a", "mimeType": "image/jpeg"}}],
    ),
    "a file of Google's": (
        Media("video", "video/mp4", file_id="gs://a/b"),
        [{"fileData": {"fileUri": "gs://a/b", "mimeType": "video/mp4"}}],
    ),
    "with context": (
        Media("document", "application/pdf", PNG, context="about"),
        [{"text": "about"}, {"inlineData": {"mimeType": "application/pdf", "data": PNG}}],
    ),
}


@pytest.mark.parametrize("name", MEDIA)
def test_media_of_every_kind_are_written(name: str) -> None:
    media, expected = MEDIA[name]
    assert write(Message(Role.USER, [media])).contents == [user(*expected)]


def test_names_of_files_are_for_gemini_alone() -> None:
    part = {"inlineData": {"mimeType": "image/png", "data": PNG, "displayName": "a.png"}}
    messages = read(user(part))
    writer = ContentsWriter(Call("gemini", "m", messages), "gemini-2.5-flash")
    writer.write()
    assert writer.contents == [user(part)]
    assert write(*messages).dropped == ["filename"]


def test_marks_of_media_are_named() -> None:
    media = Media("image", "image/png", PNG, detail="high", citations=True, cache={"type": "ephemeral"})
    assert write(Message(Role.USER, [media])).dropped == ["cache_control", "citations", "detail"]
    assert write(Message(Role.USER, [Media("image", "image/png", PNG, detail="auto")])).dropped == []
    cited = Text("x", citations=[Opaque("anthropic", {})])
    assert write(Message(Role.ASSISTANT, [cited])).dropped == ["citations"]


REFUSED: dict[str, tuple[Message, dict[str, Any]]] = {
    "a URL that nobody loads": (
        Message(Role.USER, [Media("image", url="https://e.com/a")]),
        {"fetches_urls": False},
    ),
    "a file stored elsewhere": (Message(Role.USER, [Media("image", file_id="file-1")]), {}),
    "an image as an instruction": (Message(Role.SYSTEM, [Media("image", "image/png", PNG)]), {}),
    "what only another dialect knows": (
        Message(Role.ASSISTANT, [Opaque("anthropic", {"type": "server_tool_use"})]),
        {},
    ),
    "a call by the user": (Message(Role.USER, [ToolCall("c", "f", "{}")]), {}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_content_that_cannot_be_carried_is_refused_with_its_place(name: str) -> None:
    message, options = REFUSED[name]
    with pytest.raises(BadRequest) as caught:
        write(message, **options)
    assert caught.value.path == "$.messages[0].content[0]"


def test_a_result_with_content_that_cannot_be_carried_is_refused() -> None:
    with pytest.raises(BadRequest) as caught:
        write(call(), Message(Role.USER, [ToolResult("c1", [Opaque("anthropic", {})])]))
    assert caught.value.path == "$.messages[1].content[0].content[0]"


def test_turns_without_parts_are_left_out() -> None:
    assert read({"role": "model"}, user({"text": ""}), user({"text": "hi"})) == [
        Message(Role.USER, [Text("hi")])
    ]


def test_media_in_a_result_are_read() -> None:
    image = {"inline_data": {"mime_type": "image/png", "data": PNG}}
    (message,) = read(
        user({"functionResponse": {"name": "f", "response": {"output": "x"}, "parts": [image]}})
    )
    assert isinstance(message.parts[0], ToolResult)
    assert message.parts[0].content == [Text("x"), Media("image", "image/png", PNG)]


def test_plain_text_that_is_no_text_stays_a_file() -> None:
    (message,) = read(user({"inlineData": {"mimeType": "text/plain", "data": "/w=="}}))
    assert message.parts == [Media("document", "text/plain", "/w==")]


def test_marks_of_calls_results_and_texts_are_named() -> None:
    mark = {"type": "ephemeral"}
    for parts in (
        [Message(Role.USER, [Text("x", cache=mark)])],
        [Message(Role.ASSISTANT, [ToolCall("c1", "f", "{}", cache=mark)])],
        [call(), Message(Role.USER, [ToolResult("c1", [Text("x")], cache=mark)])],
    ):
        assert write(*parts).dropped == ["cache_control"]


def test_signed_calls_and_cached_content_go_back_to_gemini() -> None:
    cached = Message(Role.USER, [Opaque("gemini", {"cachedContent": "c/1"}, "$.cachedContent")])
    writer = write(cached, call(signature="AQ==", signed_by="gemini"))
    assert writer.cached_content == "c/1"
    assert writer.contents[0]["parts"][0]["thoughtSignature"] == "AQ=="


def test_a_document_of_text_has_its_name_before_it_and_is_text_in_a_result() -> None:
    found = Media("document", "text/plain", text="t", name="n", context="c")
    paper = Media("document", "application/pdf", PNG, context="about")
    call = ToolCall("t1", "f", "{}")
    result = ToolResult("t1", [found, paper])
    writer = write(
        Message(Role.ASSISTANT, [call]), Message(Role.USER, [result, found]), model="gemini-3-pro-preview"
    )
    assert writer.contents[1]["parts"] == [
        {
            "functionResponse": {
                "name": "f",
                "response": {"output": "n\nc\n\nt"},
                "id": "t1",
                "parts": [{"inlineData": {"mimeType": "application/pdf", "data": PNG}}],
            }
        },
        {"text": "about"},
        {"text": "n\nc"},
        {"inlineData": {"mimeType": "text/plain", "data": "dA=="}},
    ]
