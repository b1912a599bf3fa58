from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apipod_proxy.upstream import inflate
from apipod_proxy.upstream.inflate import Inflater, Undecodable

PLAIN = b"data: {}\n\n" * 300
CODED = {
    b"gzip": gzip.compress(PLAIN, mtime=0),
    b"x-gzip": gzip.compress(PLAIN[:1000], mtime=0) + gzip.compress(PLAIN[1000:], mtime=0),
    b"deflate": zlib.compress(PLAIN),
}


def made(coding: bytes) -> tuple[Inflater, list[bytes]]:
    pieces: list[bytes] = []
    inflater = Inflater.of(coding, pieces.append)
    assert inflater is not None
    return inflater, pieces


@pytest.mark.parametrize("coding", CODED)
@given(cut=st.integers(0, 200))
def test_any_split_gives_the_same_content(coding: bytes, cut: int) -> None:
    inflater, pieces = made(coding)
    inflater.feed(CODED[coding][:cut])
    inflater.feed(CODED[coding][cut:])
    assert b"".join(pieces) == PLAIN and inflater.whole
    assert all(pieces)


def test_byte_by_byte() -> None:
    for coding, data in CODED.items():
        inflater, pieces = made(coding)
        for byte in data:
            inflater.feed(bytes((byte,)))
        assert b"".join(pieces) == PLAIN and inflater.whole


def test_zeros_behind_the_end_are_padding() -> None:
    for coding, data in CODED.items():
        inflater, pieces = made(coding)
        inflater.feed(data + bytes(3))
        inflater.feed(bytes(600))
        assert b"".join(pieces) == PLAIN and inflater.whole


def test_headerless_deflate() -> None:
    inflater, pieces = made(b"deflate")
    inflater.feed(zlib.compress(PLAIN)[2:-4])
    assert b"".join(pieces) == PLAIN and inflater.whole


def test_what_was_flushed_comes_at_once() -> None:
    engine = zlib.compressobj(wbits=31)
    inflater, pieces = made(b"gzip")
    for number in range(3):
        inflater.feed(engine.compress(b"event %d" % number) + engine.flush(zlib.Z_SYNC_FLUSH))
        assert pieces[-1] == b"event %d" % number
    assert not inflater.whole


def test_nothing_at_all_is_whole() -> None:
    inflater, _ = made(b"gzip")
    assert inflater.whole


@pytest.mark.parametrize(
    "data",
    [b"plain text", CODED[b"gzip"][:-8] + bytes(8), CODED[b"gzip"] + b"garbage"],
    # Without names the packed bytes would name the tests, and gzip writes the time of day into them.
    ids=["not packed", "a wrong checksum", "garbage after the end"],
)
def test_damage_is_told(data: bytes) -> None:
    inflater, _ = made(b"gzip")
    with pytest.raises(Undecodable, match="damaged"):
        inflater.feed(data)


def test_content_that_grows_without_measure_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inflate, "BURST_LIMIT", 10_000)
    for bomb in (gzip.compress(bytes(10_001)), gzip.compress(bytes(5_001)) * 2):
        inflater, _ = made(b"gzip")
        with pytest.raises(Undecodable, match="measure"):
            inflater.feed(bomb)
    inflater, pieces = made(b"gzip")
    inflater.feed(gzip.compress(bytes(10_000)))
    assert len(pieces[0]) == 10_000


@pytest.mark.parametrize("coding", [b"br", b"zstd", b"compress", b"gzip, gzip"])
def test_other_codings_are_not_known(coding: bytes) -> None:
    assert Inflater.of(coding, lambda data: None) is None
