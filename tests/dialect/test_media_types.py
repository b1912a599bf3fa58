from __future__ import annotations

import pytest

from apipod_proxy.dialect.media_types import guess, kind_of, standard_base64


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
