from __future__ import annotations

from typing import Any

import pytest

from apipod_proxy.dialect.anthropic.content import (
    read_blocks,
    tool_id,
    write_call,
    write_media,
    write_text,
)
from apipod_proxy.dialect.vocabulary import Media, Opaque, Text, Thinking, ToolCall, ToolResult
from apipod_proxy.errors import BadRequest

MARK = {"type": "ephemeral", "ttl": "1h"}
PDF = {"type": "base64", "media_type": "application/pdf", "data": "QQ=="}
CITE = {"type": "char_location", "cited_text": "q"}


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ({"type": "text", "text": "a", "cache_control": MARK}, Text("a", cache=MARK)),
        (
            {"type": "text", "text": "a", "citations": [CITE]},
            Text("a", citations=[Opaque("anthropic", CITE, "citations")]),
        ),
        ({"type": "text", "text": "a", "citations": [{"encrypted_index": ""}]}, Text("a")),
        ({"type": "thinking", "thinking": "Hmm", "signature": "s"}, Thinking("Hmm", "s", "anthropic")),
        ({"type": "thinking", "thinking": "Hmm"}, Thinking("Hmm")),
        ({"type": "thinking", "thinking": "Hmm", "signature": "@gemini:s"}, Thinking("Hmm", "s", "gemini")),
        ({"type": "redacted_thinking", "data": "d"}, Thinking("", "d", "anthropic", True)),
        (
            {"type": "redacted_thinking", "data": "@openai_responses:d"},
            Thinking("", "d", "openai_responses", True),
        ),
        (
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QQ=="}},
            Media("image", "image/png", data="QQ=="),
        ),
        (
            {"type": "image", "source": {"type": "url", "url": "http://x"}, "cache_control": MARK},
            Media("image", url="http://x", cache=MARK),
        ),
        ({"type": "image", "source": {"type": "file", "file_id": "f"}}, Media("image", file_id="f")),
        (
            {"type": "document", "source": PDF, "title": "T", "context": "C", "citations": {"enabled": True}},
            Media("document", "application/pdf", data="QQ==", name="T", context="C", citations=True),
        ),
        (
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "body"}},
            Media("document", "text/plain", text="body"),
        ),
        (
            {
                "type": "document",
                "source": {
                    "type": "content",
                    "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
                },
            },
            Media(
                "document",
                text="a\n\nb",
                extra=Opaque(
                    "anthropic",
                    {
                        "source": {
                            "type": "content",
                            "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
                        }
                    },
                ),
            ),
        ),
        ({"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}, ToolCall("t", "f", '{"a":1}')),
        (
            {"type": "tool_use", "id": "t", "name": "f", "input": {}, "caller": {"type": "direct"}},
            ToolCall("t", "f", "{}", extra=Opaque("anthropic", {"caller": {"type": "direct"}})),
        ),
        (
            {
                "type": "tool_result",
                "tool_use_id": "t",
                "content": "r",
                "is_error": True,
                "cache_control": MARK,
            },
            ToolResult("t", [Text("r")], is_error=True, cache=MARK),
        ),
        ({"type": "tool_result", "tool_use_id": "t"}, ToolResult("t", [])),
        (
            {"type": "server_tool_use", "id": "s"},
            Opaque("anthropic", {"type": "server_tool_use", "id": "s"}, "$.content[0]"),
        ),
    ],
)
def test_every_block_is_read(block: Any, expected: Any) -> None:
    assert read_blocks([block], "$.content") == [expected]


def test_a_document_of_plain_content_is_its_text() -> None:
    part = read_blocks([{"type": "document", "source": {"type": "content", "content": "body"}}], "$")[0]
    assert isinstance(part, Media)
    assert part.text == "body"


def test_a_string_is_one_text() -> None:
    assert read_blocks("a", "$") == [Text("a")]
    assert read_blocks("", "$") == []


def test_a_labelled_signature_goes_back_to_its_place() -> None:
    call = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    signed = {"type": "thinking", "thinking": "", "signature": "@gemini/call:g"}
    assert read_blocks([signed, call], "$") == [ToolCall("t", "f", "{}", signature="g", signed_by="gemini")]
    assert read_blocks([signed | {"thinking": "Hmm"}, call], "$")[0] == Thinking("Hmm")
    text = {"type": "text", "text": "a"}
    assert read_blocks([signed, text, call], "$") == [Text("a"), ToolCall("t", "f", "{}")]
    on_text = signed | {"signature": "@gemini/text:g"}
    assert read_blocks([text, on_text], "$") == [Text("a", signature="g", signed_by="gemini")]
    assert read_blocks([on_text], "$") == []


@pytest.mark.parametrize(
    ("content", "path"),
    [
        (5, "$.content"),
        ([5], "$.content[0]"),
        ([{}], "$.content[0].type"),
        ([{"type": "text"}], "$.content[0].text"),
        ([{"type": "text", "text": "a", "cache_control": 5}], "$.content[0].cache_control"),
        ([{"type": "image"}], "$.content[0].source"),
        ([{"type": "image", "source": {"type": "base64"}}], "$.content[0].source.data"),
        ([{"type": "image", "source": {"type": "text", "data": "x"}}], "$.content[0].source.type"),
        ([{"type": "document", "source": {"type": "content"}}], "$.content[0].source.content"),
        ([{"type": "tool_use", "id": "t", "name": "f", "input": "x"}], "$.content[0].input"),
        ([{"type": "tool_result"}], "$.content[0].tool_use_id"),
        (
            [{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text"}]}],
            "$.content[0].content[0].text",
        ),
        ([{"type": "redacted_thinking"}], "$.content[0].data"),
    ],
)
def test_a_wrong_block_is_named_by_its_path(content: Any, path: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read_blocks(content, "$.content")
    assert caught.value.path == path


def test_media_become_the_block_that_holds_them() -> None:
    def source(media: Media, own: bool = False) -> Any:
        return write_media(media, own, "$")["source"]

    assert source(Media("image", "image/png", data="QQ==")) == {
        "type": "base64",
        "media_type": "image/png",
        "data": "QQ==",
    }
    assert source(Media("image", "image/jpg", data="QQ=="))["media_type"] == "image/jpeg"
    assert source(Media("image", url="http://x")) == {"type": "url", "url": "http://x"}
    assert source(Media("image", file_id="f"), own=True) == {"type": "file", "file_id": "f"}
    assert source(Media("document", text="body")) == {
        "type": "text",
        "media_type": "text/plain",
        "data": "body",
    }
    assert source(Media("document", "text/csv", data="YSxi"))["data"] == "a,b"
    assert source(Media("document", "application/pdf", data="QQ==")) == PDF
    kept = Media("document", text="a", extra=Opaque("anthropic", {"source": {"type": "content"}}))
    assert source(kept) == {"type": "content"}
    full = write_media(Media("document", text="a", name="T", context="C", citations=True), False, "$")
    assert (full["title"], full["context"], full["citations"]) == ("T", "C", {"enabled": True})


@pytest.mark.parametrize(
    "media",
    [
        Media("audio", data="QQ=="),
        Media("video", url="http://x"),
        Media("image", file_id="f"),
        Media("document", "application/msword", data="QQ=="),
        Media("document", "text/plain", data="/w=="),
        Media("document", "text/plain", data="QQQ"),
    ],
)
def test_media_that_messages_cannot_hold_are_refused(media: Media) -> None:
    with pytest.raises(BadRequest) as caught:
        write_media(media, False, "$.messages[0].content[0]")
    assert caught.value.path == "$.messages[0].content[0]"


def test_calls_are_written_with_an_object_and_a_clean_id() -> None:
    assert write_call(ToolCall("call:1", "f", '{"a":1}'), tool_id("call:1")) == {
        "type": "tool_use",
        "id": "call_1",
        "name": "f",
        "input": {"a": 1},
    }
    assert write_call(ToolCall("t", "f", "x", custom=True), "t")["input"] == {"input": "x"}
    assert write_call(ToolCall("t", "f", "{}", extra=Opaque("anthropic", {"caller": 1})), "t")["caller"] == 1
    inputs = [write_call(ToolCall("t", "f", text), "t")["input"] for text in ("", "null", "{", "[1]")]
    assert inputs == [{}, {}, {"arguments": "{"}, {"arguments": [1]}]
    assert tool_id("") == "_"
    assert write_text(Text("a", citations=[Opaque("anthropic", CITE), Opaque("x", {})]))["citations"] == [
        CITE
    ]


SEARCH = {
    "type": "search_result",
    "source": "https://a.org",
    "title": "T",
    "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
    "citations": {"enabled": True},
}


def test_a_search_result_is_a_document_to_others_and_itself_here() -> None:
    (media,) = read_blocks([SEARCH], "$")
    assert isinstance(media, Media)
    assert (media.text, media.name, media.context, media.citations) == ("a\n\nb", "T", "https://a.org", True)
    assert write_media(media, True, "$") == SEARCH


def test_a_tool_that_was_found_is_its_name_to_others_and_itself_here() -> None:
    reference = {"type": "tool_reference", "tool_name": "mcp__news__read"}
    (media,) = read_blocks([reference], "$")
    assert isinstance(media, Media)
    assert (media.kind, media.text, media.name) == ("document", "mcp__news__read", None)
    assert write_media(media, True, "$") == reference


def test_a_document_with_pictures_in_it_is_kept_whole() -> None:
    block = {
        "type": "document",
        "source": {"type": "content", "content": [{"type": "text", "text": "a"}, {"type": "image"}]},
    }
    assert read_blocks([block], "$") == [Opaque("anthropic", block, "$[0]")]
