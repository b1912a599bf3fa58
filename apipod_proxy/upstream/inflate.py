"""Content codings that a server uses although identity was asked for."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Final, Self

BURST_LIMIT: Final = 16 * 1024 * 1024
"""Bytes that one read may grow to. JSON shrinks about tenfold, so 256 KB never honestly become more."""

# zlib's window sizes: by the header of the stream, without header.
_GZIP: Final = 16 + zlib.MAX_WBITS
_ZLIB: Final = zlib.MAX_WBITS
_RAW: Final = -zlib.MAX_WBITS


class Undecodable(Exception):
    """The content is not what its coding says."""


class Inflater:
    """Decodes gzip and deflate as the bytes come and hands what it makes of them to ``sink``."""

    __slots__ = ("_bits", "_engine", "_sink")

    def __init__(self, bits: int, sink: Callable[[bytes], None]) -> None:
        self._bits = bits
        # Made at the first byte, because deflate is told apart by it.
        self._engine: zlib._Decompress | None = None
        self._sink = sink

    @classmethod
    def of(cls, coding: bytes, sink: Callable[[bytes], None]) -> Self | None:
        """None for a coding that the standard library cannot undo."""
        if coding in (b"gzip", b"x-gzip"):
            return cls(_GZIP, sink)
        return cls(_ZLIB, sink) if coding == b"deflate" else None

    @property
    def whole(self) -> bool:
        """Whether the content so far is complete; no byte at all counts as empty content."""
        return self._engine is None or self._engine.eof

    def feed(self, data: bytes) -> None:
        """Raises Undecodable."""
        produced = 0
        while data:
            engine = self._engine
            if engine is not None and engine.eof and not data.strip(b"\0"):
                return  # padding, as tapes and blocks have it
            if engine is None or engine.eof:
                # gzip files may be concatenated; each member needs a decoder of its own.
                engine = self._engine = self._start(data)
            try:
                piece = engine.decompress(data, BURST_LIMIT)
            except zlib.error as exc:
                raise Undecodable("the compressed content is damaged") from exc
            produced += len(piece)
            if produced > BURST_LIMIT or engine.unconsumed_tail:
                raise Undecodable("the compressed content grows beyond all measure")
            data = engine.unused_data
            if piece:
                self._sink(piece)

    def _start(self, data: bytes) -> zlib._Decompress:
        # "deflate" is zlib's format by the standard and headerless by some servers; the low half of the first byte tells.
        if self._bits == _ZLIB and data[0] & 0x0F != 8:
            self._bits = _RAW
        return zlib.decompressobj(wbits=self._bits)
