from __future__ import annotations

import pytest

from apipod_proxy.dialect.words import Words, may_begin

PLAIN = Words(b"developer", b"file_url")
STEMMED = Words(b"developer", b"file_url", stems=(b'per"', b'_url"'))


@pytest.mark.parametrize("filler", [b"", b"x" * 10_000, b'"a",' * 5_000], ids=["short", "long", "many"])
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
    assert PLAIN.stand_in(body) is held
    assert STEMMED.stand_in(body) is held


@pytest.mark.parametrize("filler", [b"", b"x" * 10_000, b'"a",' * 5_000], ids=["short", "long", "many"])
def test_a_string_that_begins_so_is_never_missed(filler: bytes) -> None:
    body = b'["%b","%b"]'
    assert may_begin(body % (filler.strip(b'",'), b"http://x"), b"http")
    assert not may_begin(body % (filler.strip(b'",'), b"ttp"), b"http")


def test_in_a_long_string_a_beginning_is_not_looked_for() -> None:
    body = b'{"text":"%b see http://x","url":"%b"}'
    assert not may_begin(body % (b"x" * 10_000, b"ftp"), b"http")
    assert may_begin(body % (b"x" * 10_000, b"HTTPS://"), b"http")
