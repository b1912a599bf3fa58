from __future__ import annotations

import pytest

from apipod_proxy.dialect.words import holds

WORDS = (b"developer", b"file_url")


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
    assert holds(text + b',["' + filler.strip(b",") + b'"]', WORDS) is held
