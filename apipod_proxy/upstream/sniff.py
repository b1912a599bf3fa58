"""What a file is, told from its first bytes: what a server says of it is not believed. Pure."""

from __future__ import annotations

UNKNOWN = "application/octet-stream"

_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"%PDF-", "application/pdf"),
    (b"ID3", "audio/mpeg"),
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
    (b"\x1aE\xdf\xa3", "video/webm"),
    (b"{\\rtf", "application/rtf"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/msword"),
)
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}
_BRANDS = {
    b"avif": "image/avif",
    b"avis": "image/avif",
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"hevc": "image/heic",
    b"mif1": "image/heif",
    b"msf1": "image/heif",
    b"M4A ": "audio/mp4",
    b"M4B ": "audio/mp4",
    b"qt  ": "video/quicktime",
}
_OFFICE = "application/vnd.openxmlformats-officedocument."
_ZIPPED = (
    (b"word/", _OFFICE + "wordprocessingml.document"),
    (b"xl/", _OFFICE + "spreadsheetml.sheet"),
    (b"ppt/", _OFFICE + "presentationml.presentation"),
)
_MARKUP = ((b"<svg", "image/svg+xml"), (b"<html", "text/html"), (b"<!doctype html", "text/html"))
_TEXT_LOOK = 64 * 1024


def sniff(data: bytes) -> str:
    """The media type of ``data``; UNKNOWN where nothing tells it."""
    for signature, kind in _SIGNATURES:
        if data.startswith(signature):
            return kind
    if data[:4] == b"RIFF":
        return _RIFF.get(data[8:12], UNKNOWN)
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12], "video/mp4")
    if data[:4] == b"FORM" and data[8:12] in (b"AIFF", b"AIFC"):
        return "audio/aiff"
    if len(data) > 1 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0:
        # A frame of MPEG audio; layer 0 is that of AAC.
        return "audio/aac" if data[1] & 0x06 == 0 else "audio/mpeg"
    if data.startswith(b"PK\x03\x04"):
        return next((kind for mark, kind in _ZIPPED if mark in data), "application/zip")
    return _text(data)


def _text(data: bytes) -> str:
    head = data[:_TEXT_LOOK]
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        # The last character of the piece may be cut.
        if len(data) <= _TEXT_LOOK or exc.start < len(head) - 4:
            return UNKNOWN
        text = head[: exc.start].decode("utf-8-sig")
    if not text.strip() or any(ord(c) < 32 and c not in "\t\n\r\f\x1b" for c in text):
        return UNKNOWN
    start = text.lstrip()[:1024].lower().encode()
    if start.startswith(b"<"):
        for mark, kind in _MARKUP:
            if mark in start:
                return kind
        return "text/xml" if start.startswith(b"<?xml") else "text/plain"
    return "text/plain"
