"""Files by URL in the requests of every dialect: found with their paths, and replaced by their bytes."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from apipod_proxy.dialect.links import (
    check_kind,
    data_url,
    dumps,
    file_name,
    from_data_url,
    links_in,
    may_hold_links,
    needed,
)
from apipod_proxy.errors import BadRequest

DATA = b"file"
B64 = "ZmlsZQ=="
PNG = "https://pics.org/a.png"


def chat(*parts: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(parts)}]}


def messages(*blocks: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(blocks)}]}


def gemini(*parts: Any) -> dict[str, Any]:
    return {"contents": [{"parts": list(parts)}]}


def responses(*parts: Any) -> dict[str, Any]:
    return {"input": [{"role": "user", "content": list(parts)}]}


def source(kind: str, url: str) -> dict[str, Any]:
    return {"type": kind, "source": {"type": "url", "url": url}, "title": "t"}


CASES = [
    (
        "openai_chat",
        chat({"type": "image_url", "image_url": {"url": PNG, "detail": "low"}}),
        ("$.messages[0].content[0].image_url.url", "image", "image/png"),
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{B64}", "detail": "low"}},
    ),
    (
        "openai_chat",
        chat({"type": "image_url", "image_url": PNG}),
        ("$.messages[0].content[0].image_url", "image", "image/png"),
        {"type": "image_url", "image_url": f"data:image/png;base64,{B64}"},
    ),
    (
        "openai_chat",
        chat({"type": "video_url", "video_url": {"url": PNG}}),
        ("$.messages[0].content[0].video_url.url", "video", "video/mp4"),
        {"type": "video_url", "video_url": {"url": f"data:video/mp4;base64,{B64}"}},
    ),
    (
        "openai_chat",
        chat({"type": "file", "file": {"filename": "x", "file_data": PNG}}),
        ("$.messages[0].content[0].file.file_data", "document", "application/pdf"),
        {"type": "file", "file": {"filename": "x", "file_data": f"data:application/pdf;base64,{B64}"}},
    ),
    (
        "openai_chat",
        chat({"type": "document_url", "document_url": PNG, "document_name": "n.pdf"}),
        ("$.messages[0].content[0].document_url", "document", "application/pdf"),
        {"type": "file", "file": {"filename": "n.pdf", "file_data": f"data:application/pdf;base64,{B64}"}},
    ),
    (
        "openai_chat",
        chat({"type": "file_url", "file_url": PNG, "cache_control": {"type": "ephemeral"}}),
        ("$.messages[0].content[0].file_url", "any", "image/webp"),
        {
            "type": "image_url",
            "image_url": {"url": f"data:image/webp;base64,{B64}"},
            "cache_control": {"type": "ephemeral"},
        },
    ),
    (
        "openai_chat",
        chat({"type": "file_url", "file_url": {"url": PNG, "filename": "b.txt"}}),
        ("$.messages[0].content[0].file_url.url", "any", "text/plain"),
        {"type": "file", "file": {"filename": "b.txt", "file_data": f"data:text/plain;base64,{B64}"}},
    ),
    (
        "openai_chat",
        chat({"type": "file_url", "file_url": {"url": PNG}}),
        ("$.messages[0].content[0].file_url.url", "any", "video/mp4"),
        {"type": "video_url", "video_url": {"url": f"data:video/mp4;base64,{B64}"}},
    ),
    (
        "openai_chat",
        chat({"type": "audio_url", "audio_url": {"url": PNG}}),
        ("$.messages[0].content[0].audio_url.url", "audio", "audio/mpeg"),
        {"type": "input_audio", "input_audio": {"data": B64, "format": "mp3"}},
    ),
    (
        "anthropic",
        messages(source("image", PNG)),
        ("$.messages[0].content[0].source.url", "image", "image/png"),
        {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/png", "data": B64},
            "title": "t",
        },
    ),
    (
        "anthropic",
        messages(source("document", PNG)),
        ("$.messages[0].content[0].source.url", "document", "text/html"),
        {
            "type": "document",
            "source": {"type": "text", "media_type": "text/plain", "data": "file"},
            "title": "t",
        },
    ),
    (
        "gemini",
        gemini({"fileData": {"fileUri": PNG, "mimeType": "image/png"}}),
        ("$.contents[0].parts[0].fileData.fileUri", "image", "image/png"),
        {"inlineData": {"mimeType": "image/png", "data": B64}},
    ),
    (
        "gemini",
        gemini({"file_data": {"file_uri": "https://pics.org/x"}}),
        ("$.contents[0].parts[0].file_data.file_uri", "any", "image/png"),
        {"inlineData": {"mimeType": "image/png", "data": B64}},
    ),
    (
        "openai_responses",
        responses({"type": "input_image", "image_url": PNG}),
        ("$.input[0].content[0].image_url", "image", "image/png"),
        {"type": "input_image", "image_url": f"data:image/png;base64,{B64}"},
    ),
    (
        "openai_responses",
        responses({"type": "input_file", "file_url": "https://pics.org/a%20b.pdf"}),
        ("$.input[0].content[0].file_url", "document", "application/pdf"),
        {
            "type": "input_file",
            "filename": "a b.pdf",
            "file_data": f"data:application/pdf;base64,{B64}",
        },
    ),
]


@pytest.mark.parametrize(("dialect", "body", "found", "after"), CASES)
def test_a_file_is_found_and_replaced(
    dialect: str, body: Any, found: tuple[str, str, str], after: Any
) -> None:
    body = copy.deepcopy(body)
    (link,) = links_in(dialect, body)
    assert (link.path, link.kind) == found[:2]
    link.put(DATA, found[2])
    holder = next(iter(body.values()))[0]
    assert holder.get("content", holder.get("parts"))[0] == after
    assert links_in(dialect, body) == []


def test_files_in_results_of_tools_are_found() -> None:
    block = {"type": "tool_result", "content": [source("image", PNG)]}
    assert [link.path for link in links_in("anthropic", messages(block))] == [
        "$.messages[0].content[0].content[0].source.url"
    ]
    item = {"type": "function_call_output", "output": [{"type": "input_image", "image_url": PNG}]}
    assert [link.path for link in links_in("openai_responses", {"input": [item]})] == [
        "$.input[0].output[0].image_url"
    ]


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        ("openai_chat", {}),
        ("openai_chat", {"messages": 5}),
        ("openai_chat", {"messages": [5, {"content": "http://x"}, {"content": [5, {"type": "text"}]}]}),
        ("openai_chat", chat({"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}})),
        ("openai_chat", chat({"type": "image_url", "image_url": 4}, {"type": "file", "file": 4})),
        ("openai_chat", chat({"type": "document_url", "document_url": {"url": 4}})),
        ("anthropic", messages({"type": "image", "source": 4}, {"type": "image", "source": {"type": "url"}})),
        ("gemini", gemini({"fileData": {"fileUri": "gs://a/b"}}, {"text": "http://x"}, {"fileData": 4})),
        ("openai_responses", {"input": "http://x"}),
        ("openai_responses", responses({"type": "input_image", "file_id": "f"})),
        ("cohere", {"messages": []}),
    ],
)
def test_what_is_no_url_of_a_file_is_left_alone(dialect: str, body: Any) -> None:
    assert links_in(dialect, body) == []


@pytest.mark.parametrize(
    ("dialect", "spoken", "url", "kind", "fetches", "wanted"),
    [
        ("openai_chat", "openai_chat", PNG, "image_url", True, False),
        ("openai_chat", "openai_chat", PNG, "image_url", False, True),
        ("openai_chat", "openai_chat", PNG, "file_url", True, True),
        ("openai_chat", "anthropic", PNG, "image_url", True, False),
        ("openai_chat", "anthropic", "http://pics.org/a.png", "image_url", True, True),
        ("openai_chat", "anthropic", "https://a.org/a.pdf", "document_url", True, False),
        ("openai_chat", "anthropic", "https://a.org/a.txt", "document_url", True, True),
        ("openai_chat", "openai_responses", "https://a.org/a.txt", "document_url", True, False),
        ("openai_chat", "gemini", PNG, "image_url", True, True),
        ("openai_chat", "gemini", "https://www.youtube.com/watch?v=x", "video_url", True, False),
        ("openai_chat", "gemini", "http://[broken", "image_url", True, True),
        ("openai_chat", "cohere", PNG, "image_url", True, False),
        ("openai_chat", "cohere", PNG, "document_url", True, True),
    ],
)
def test_only_what_the_provider_cannot_load_is_needed(
    dialect: str, spoken: str, url: str, kind: str, fetches: bool, wanted: bool
) -> None:
    found = links_in(dialect, chat({"type": kind, kind: url}))
    assert bool(needed(found, spoken, spliced=dialect == spoken, fetches_urls=fetches)) == wanted


@pytest.mark.parametrize(
    ("dialect", "body", "loads", "may"),
    [
        ("openai_chat", b'{"type":"file_url"}', True, True),
        ("openai_chat", b'{"type":"image_url","url":"http://x"}', True, False),
        ("openai_chat", b'{"type":"image_url","url":"http://x"}', False, True),
        ("openai_responses", b'{"file_url":"x"}', True, False),
        ("anthropic", b'"text"', False, False),
    ],
)
def test_a_cheap_look_tells_whether_there_may_be_files(
    dialect: str, body: bytes, loads: bool, may: bool
) -> None:
    assert may_hold_links(dialect, body, loads=loads) == may


@pytest.mark.parametrize(
    ("part", "path"),
    [
        ({"type": "file_url"}, "file_url"),
        ({"type": "file_url", "file_url": 5}, "file_url"),
        ({"type": "file_url", "file_url": {"url": 5}}, "file_url.url"),
        ({"type": "file_url", "file_url": {"url": "x", "headers": 5}}, "file_url.headers"),
        ({"type": "file_url", "file_url": {"url": "x", "headers": {"a": 5}}}, "file_url.headers.a"),
        ({"type": "audio_url", "audio_url": {"url": "x", "filename": 5}}, "audio_url.filename"),
    ],
)
def test_malformed_extensions_are_refused(part: Any, path: str) -> None:
    with pytest.raises(BadRequest) as caught:
        links_in("openai_chat", chat(part))
    assert caught.value.path == f"$.messages[0].content[0].{path}"


@pytest.mark.parametrize(
    ("kind", "media_type", "fits"),
    [
        ("image_url", "image/png", True),
        ("image_url", "text/html", False),
        ("audio_url", "audio/ogg", True),
        ("audio_url", "image/png", False),
        ("file_url", "text/html", True),
        ("file_url", "application/octet-stream", False),
    ],
)
def test_a_file_must_be_of_the_kind_that_its_place_is_for(kind: str, media_type: str, fits: bool) -> None:
    (link,) = links_in("openai_chat", chat({"type": kind, kind: PNG}))
    if fits:
        check_kind(link, media_type)
    else:
        with pytest.raises(BadRequest) as caught:
            check_kind(link, media_type)
        assert caught.value.path == link.path


def test_numbers_and_halves_of_characters_survive() -> None:
    assert dumps({"a": 12345678901234567890123, "c": 1.0}) == b'{"a":12345678901234567890123,"c":1.0}'
    assert dumps({"b": "ü"}) == '{"b":"ü"}'.encode()
    assert dumps({"a": "\ud83d"}) == b'{"a":"\\ud83d"}'


def test_data_urls_are_read_and_written() -> None:
    assert from_data_url(data_url(DATA, "image/png")) == DATA
    for text in ("data:image/png,x", "data:image/png;base64", "data:image/png;base64,?", "x:;base64,AA=="):
        assert from_data_url(text) is None


@pytest.mark.parametrize(
    ("name", "url", "media_type", "told"),
    [
        ("x.md", PNG, "text/plain", "x.md"),
        (None, "https://a.org/b.pdf?c", "application/pdf", "b.pdf"),
        (None, "https://a.org/b", "application/pdf", "document.pdf"),
        (None, "https://a.org/b.pdf", "text/html", "document.html"),
        (None, "data:x", "application/zip", "document.txt"),
    ],
)
def test_a_file_has_a_name_whose_end_is_its_type(name: Any, url: str, media_type: str, told: str) -> None:
    assert file_name(name, url, media_type) == told
