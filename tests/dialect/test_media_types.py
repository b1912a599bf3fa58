from __future__ import annotations

import pytest

from apipod_proxy.dialect.media_types import (
    as_text,
    guess,
    headed,
    kind_of,
    path_of,
    standard_base64,
    text_in,
)
from apipod_proxy.dialect.vocabulary import Media, Text


@pytest.mark.parametrize(
    ("media_type", "kind"),
    [
        ("image/png", "image"),
        ("audio/wav", "audio"),
        ("video/*", "video"),
        ("text/plain", "document"),
        (None, "document"),
    ],
)
def test_a_type_is_of_a_kind(media_type: str | None, kind: str) -> None:
    assert kind_of(media_type) == kind


@pytest.mark.parametrize(
    ("name", "kind", "media_type"),
    [
        ("a.PNG", None, "image/png"),
        ("https://example.com/x/a.pdf?b=c.png#d", None, "application/pdf"),
        ("gs://bucket/a.mp4", None, "video/mp4"),
        ("https://example.com/image", "image", "image/jpeg"),
        ("notes", "document", "application/pdf"),
        (None, "audio", "audio/mpeg"),
        ("noname", None, None),
        ("https://example.py", None, None),
        ("http://[broken", None, None),
        ("http://broken]/a.png", None, "image/png"),
    ],
)
def test_a_name_suggests_a_type(name: str | None, kind: str | None, media_type: str | None) -> None:
    assert guess(name, kind) == media_type


@pytest.mark.parametrize(
    ("given", "standard"), [("-_8=", "+/8="), ("-_8", "+/8="), ("YWI=", "YWI="), ("YQ", "YQ=="), ("", "")]
)
def test_base64_comes_out_in_the_standard_alphabet(given: str, standard: str) -> None:
    assert standard_base64(given) == standard


@pytest.mark.parametrize(
    ("url", "path"), [("http://a/b/c?d=/e#f/g", "b/c"), ("http://a", ""), ("http://[a/b", "b"), ("a/b", "")]
)
def test_a_url_has_a_path_even_a_malformed_one(url: str, path: str) -> None:
    assert path_of(url) == path


@pytest.mark.parametrize(
    ("media", "text"),
    [
        (Media("document", text="t"), "t"),
        (Media("document", "text/csv", data="YQ=="), "a"),
        (Media("document", "application/json", data="e30="), "{}"),
        (Media("document", "application/pdf", data="YQ=="), None),
        (Media("document", "text/csv", url="http://a"), None),
        (Media("image", "image/png", data="YQ=="), None),
    ],
)
def test_a_document_of_text_holds_text(media: Media, text: str | None) -> None:
    assert text_in(media) == text


@pytest.mark.parametrize("data", ["/w==", "x"])
def test_a_document_of_text_that_is_none_is_an_error(data: str) -> None:
    with pytest.raises(ValueError, match="no base64 of UTF-8"):
        text_in(Media("document", "text/csv", data=data))


def test_a_document_as_text_begins_with_what_is_said_of_it() -> None:
    media = Media("document", text="t", name="n", context="c", cache={"type": "ephemeral"})
    assert as_text(media) == Text("n\nc\n\nt", cache={"type": "ephemeral"})
    assert headed(Media("document"), "t") == "t"
    other = Media("document", data="YQ==")
    assert as_text(other) is other
