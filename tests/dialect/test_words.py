from __future__ import annotations

import pytest

from apipod_proxy.dialect.words import Words, may_hold_url

KINDS = [
    Words(b"developer", b"file_url"),
    Words(b"developer", b"file_url", stems=(b'per"', b'_url"')),
    Words(b"file_url", b"developer", b"audio_url"),
]
ONLY = Words(b"file_url", b"audio_url", stems=(b'_url"',))
FILLERS = pytest.mark.parametrize(
    "filler", [b"", b"x" * 10_000, b'"a",' * 5_000, b"_a/" * 5_000], ids=["short", "long", "many", "marks"]
)


@FILLERS
@pytest.mark.parametrize(
    ("text", "held"),
    [
        (b'{"role":"developer"}', True),
        (b'{"file_url" : {}}', True),
        (b'{"role":"developers"}', False),
        (b'{"text":"the \\"developer\\" said"}', False),
        (b'{"text":"file_url"}', True),
        (b"{}", False),
    ],
)
def test_a_string_is_found_whole_in_texts_of_every_kind(filler: bytes, text: bytes, held: bool) -> None:
    body = text + b',["' + filler.strip(b",") + b'"]'
    for turned in (body, body[len(text) + 1 :] + text):
        assert all(words.stand_in(turned) is held for words in KINDS)
        assert ONLY.stand_in(turned) is (held and b"file" in text)


@FILLERS
@pytest.mark.parametrize("url", [b"http://x", b"https://x/y", b"http:\\/\\/x"])
def test_a_url_is_never_missed(filler: bytes, url: bytes) -> None:
    body = b'["%b","%b"]'
    text = filler.strip(b'",')
    assert may_hold_url(body % (text, url))
    assert may_hold_url(body % (url, text))
    assert not may_hold_url(body % (text, url.replace(b"http", b"ftp")))


def test_a_url_may_begin_in_capitals() -> None:
    assert may_hold_url(b'["HTTPS://x"]')
    assert may_hold_url(b"http:/")
    assert not may_hold_url(b'["/http"]')
