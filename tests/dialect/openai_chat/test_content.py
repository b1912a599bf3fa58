from __future__ import annotations

from typing import Any

import pytest

from apipod_proxy.dialect.openai_chat.content import read_content, write_media
from apipod_proxy.dialect.vocabulary import Media, Opaque, Refusal, Text, Thinking
from apipod_proxy.errors import BadRequest

MARK = {"type": "ephemeral"}


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"type": "text", "text": "a"}, Text("a")),
        ({"text": "a"}, Text("a")),
        ("a", Text("a")),
        ({"type": "text", "text": "a", "cache_control": MARK}, Text("a", cache=MARK)),
        (
            {"type": "text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}},
            Text("a", cache=MARK),
        ),
        ({"type": "refusal", "refusal": "no"}, Refusal("no")),
        (
            {"type": "image_url", "image_url": {"url": "http://x/y.png", "detail": "low"}},
            Media("image", url="http://x/y.png", detail="low"),
        ),
        (
            {"type": "image_url", "image_url": "data:image/png;base64,QQ=="},
            Media("image", "image/png", data="QQ=="),
        ),
        (
            {"type": "image_url", "image_url": {"url": "data:;base64,QQ=="}},
            Media("image", "image/jpeg", data="QQ=="),
        ),
        ({"type": "video_url", "video_url": {"url": "http://x"}}, Media("video", url="http://x")),
        (
            {"type": "document_url", "document_url": "http://x/a.pdf", "document_name": "n"},
            Media("document", "application/pdf", url="http://x/a.pdf", name="n"),
        ),
        (
            {"type": "file_url", "file_url": {"url": "http://x/a.pdf"}},
            Media("document", "application/pdf", url="http://x/a.pdf"),
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "QQ==", "format": "mp3"}},
            Media("audio", "audio/mpeg", data="QQ=="),
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "data:audio/ogg;base64,QQ==", "format": "ogg"}},
            Media("audio", "audio/ogg", data="QQ=="),
        ),
        ({"type": "input_audio", "input_audio": "QQ=="}, Media("audio", "audio/mpeg", data="QQ==")),
        (
            {"type": "input_audio", "input_audio": "UklGRiQAAABXQVZF"},
            Media("audio", "audio/wav", data="UklGRiQAAABXQVZF"),
        ),
        (
            {"type": "input_audio", "input_audio": "data:audio/ogg;base64,QQ=="},
            Media("audio", "audio/ogg", data="QQ=="),
        ),
        (
            {"type": "input_audio", "input_audio": "http://x/a.mp3"},
            Media("audio", url="http://x/a.mp3"),
        ),
        ({"type": "file", "file": {"file_id": "f1"}}, Media("document", file_id="f1")),
        (
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,QQ==", "filename": "a.pdf"}},
            Media("document", "application/pdf", data="QQ==", name="a.pdf"),
        ),
        (
            {"type": "file", "file": {"file_data": "QQ==", "filename": "a.txt"}},
            Media("document", "text/plain", data="QQ==", name="a.txt"),
        ),
        (
            {"type": "file", "file": {"file_data": "http://x/a.pdf"}},
            Media("document", "application/pdf", url="http://x/a.pdf"),
        ),
        ({"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}, {"text": "m"}]}, Thinking("Hmm")),
        ({"type": "thinking", "thinking": "Hmm"}, Thinking("Hmm")),
        ({"type": "new", "x": 1}, Opaque("openai_chat", {"type": "new", "x": 1}, "$.content[0]")),
    ],
)
def test_every_part_is_read(part: Any, expected: Any) -> None:
    assert read_content([part], "$.content") == [expected]


def test_content_may_be_a_string_or_nothing() -> None:
    assert read_content("a", "$") == [Text("a")]
    assert read_content("", "$") == read_content(None, "$") == []


@pytest.mark.parametrize(
    ("content", "path"),
    [
        (5, "$.content"),
        ([5], "$.content[0]"),
        ([{"type": 5}], "$.content[0].type"),
        ([{"type": "text"}], "$.content[0].text"),
        ([{"type": "text", "text": 5}], "$.content[0].text"),
        ([{"type": "image_url"}], "$.content[0].image_url"),
        ([{"type": "image_url", "image_url": {}}], "$.content[0].image_url.url"),
        ([{"type": "image_url", "image_url": {"url": ""}}], "$.content[0].image_url.url"),
        ([{"type": "image_url", "image_url": {"url": "data:image/png,raw"}}], "$.content[0].image_url.url"),
        ([{"type": "input_audio", "input_audio": {"data": "x"}}], "$.content[0].input_audio.format"),
        ([{"type": "file", "file": {}}], "$.content[0].file"),
        ([{"type": "text", "text": "a", "cache_control": 5}], "$.content[0].cache_control"),
    ],
)
def test_a_wrong_part_is_named_by_its_path(content: Any, path: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read_content(content, "$.content")
    assert caught.value.path == path


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "http://x", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,QQ=="}},
        {"type": "input_audio", "input_audio": {"data": "QQ==", "format": "wav"}},
        {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,QQ=="}},
        {"type": "file", "file": {"file_id": "f1"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,QQ=="}},
    ],
)
def test_media_that_are_read_are_written_again(part: Any) -> None:
    media = read_content([part], "$")[0]
    assert isinstance(media, Media)
    assert write_media(media, "$") == part


def test_documents_of_text_and_without_a_name() -> None:
    text = write_media(Media("document", text="body", name="Title", context="From a book"), "$")
    assert text == {"type": "text", "text": "Title\nFrom a book\n\nbody"}
    assert write_media(Media("document", text="body"), "$")["text"] == "body"
    assert write_media(Media("document", "text/csv", data="QQ=="), "$")["file"]["filename"] == "document.csv"
    assert write_media(Media("document", "x/y", data="QQ=="), "$")["file"]["filename"] == "document.pdf"


def test_what_chat_has_no_part_for_is_refused() -> None:
    for media in (Media("image", file_id="f"), Media("audio", url="http://x")):
        with pytest.raises(BadRequest):
            write_media(media, "$.messages[0].content[0]")
