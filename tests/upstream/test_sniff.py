"""Files are known by their bytes."""

from __future__ import annotations

import pytest

from apipod_proxy.upstream.sniff import UNKNOWN, sniff


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n....", "image/png"),
        (b"\xff\xd8\xff\xe0....", "image/jpeg"),
        (b"GIF89a....", "image/gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (b"RIFF\0\0\0\0WAVEfmt ", "audio/wav"),
        (b"RIFF\0\0\0\0????", UNKNOWN),
        (b"\0\0\0\x20ftypavif", "image/avif"),
        (b"\0\0\0\x20ftypM4A ", "audio/mp4"),
        (b"\0\0\0\x20ftypisom", "video/mp4"),
        (b"FORM\0\0\0\0AIFF", "audio/aiff"),
        (b"%PDF-1.7", "application/pdf"),
        (b"ID3\x04", "audio/mpeg"),
        (b"\xff\xfb\x90\x00", "audio/mpeg"),
        (b"\xff\xf1\x50\x80", "audio/aac"),
        (b"PK\x03\x04....[Content_Types].xml....word/document.xml", None),
        (b"PK\x03\x04....", "application/zip"),
        (b"  <!DOCTYPE html><html>", "text/html"),
        (b"<?xml version='1.0'?><svg xmlns='x'>", "image/svg+xml"),
        (b"<?xml version='1.0'?><a/>", "text/xml"),
        (b"<3 hearts", "text/plain"),
        ("\ufeffGrüße".encode(), "text/plain"),
        (b"a" + "ü".encode() * 40_000, "text/plain"),
        (b"text with a \x00 in it", UNKNOWN),
        (b"\xff\x00\x01", UNKNOWN),
        (b"   ", UNKNOWN),
        (b"a" * 65_000 + b"\xff" + b"a" * 65_000, UNKNOWN),
        (b"", UNKNOWN),
    ],
)
def test_the_first_bytes_tell(data: bytes, kind: str | None) -> None:
    told = sniff(data)
    assert told == kind if kind else told.endswith("wordprocessingml.document")
