"""Media types and kinds: which kind a type is of, and which type a name suggests. A table of its own, the same on every machine."""

from __future__ import annotations

import base64
import binascii

from apipod_proxy.dialect.vocabulary import Media, Part, Text

SUFFIXES = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "heic": "image/heic",
    "heif": "image/heif",
    "avif": "image/avif",
    "bmp": "image/bmp",
    "svg": "image/svg+xml",
    "pdf": "application/pdf",
    "txt": "text/plain",
    "md": "text/markdown",
    "csv": "text/csv",
    "html": "text/html",
    "htm": "text/html",
    "xml": "text/xml",
    "json": "application/json",
    "js": "text/javascript",
    "css": "text/css",
    "py": "text/x-python",
    "rtf": "application/rtf",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "doc": "application/msword",
    "xls": "application/vnd.ms-excel",
    "mp3": "audio/mpeg",
    "wav": "audio/wav",
    "ogg": "audio/ogg",
    "opus": "audio/opus",
    "flac": "audio/flac",
    "aac": "audio/aac",
    "aiff": "audio/aiff",
    "m4a": "audio/mp4",
    "mp4": "video/mp4",
    "mov": "video/quicktime",
    "mpeg": "video/mpeg",
    "mpg": "video/mpeg",
    "webm": "video/webm",
    "avi": "video/x-msvideo",
    "mkv": "video/x-matroska",
    "wmv": "video/x-ms-wmv",
    "flv": "video/x-flv",
    "3gp": "video/3gpp",
}
DEFAULTS = {"image": "image/jpeg", "document": "application/pdf", "audio": "audio/mpeg", "video": "video/mp4"}


def kind_of(media_type: str | None) -> str:
    """image | audio | video, and document for everything else."""
    head = (media_type or "").partition("/")[0]
    return head if head in ("image", "audio", "video") else "document"


def guess(name: str | None, kind: str | None = None) -> str | None:
    """The media type that a file name or URL suggests, else the usual one of its kind."""
    if name:
        path = path_of(name) if "://" in name else name
        found = SUFFIXES.get(path.rpartition(".")[2].lower())
        if found:
            return found
    return DEFAULTS.get(kind or "")


_TEXTS = ("text/", "application/json", "application/xml", "application/javascript")


def text_in(media: Media) -> str | None:
    """The text of a document that is one; None for other files. ValueError where its data is no base64 of UTF-8."""
    if media.text is not None:
        return media.text
    if media.kind != "document" or media.data is None or not (media.media_type or "").startswith(_TEXTS):
        return None
    try:
        return base64.b64decode(media.data).decode()
    except (binascii.Error, UnicodeDecodeError) as exc:
        raise ValueError("The data of this text file is no base64 of UTF-8") from exc


def headed(media: Media, text: str) -> str:
    """``text`` under what is said of the document that it is from: its name and its context."""
    head = "\n".join(line for line in (media.name, media.context) if line)
    return f"{head}\n\n{text}" if head else text


def as_text(part: Part) -> Part:
    """A document of text as plain text, for places that take no documents; other parts as they are."""
    if isinstance(part, Media) and part.text is not None:
        return Text(headed(part, part.text), cache=part.cache)
    return part


def path_of(url: str) -> str:
    """The path in a URL, which may be any text: no client's URL fails here."""
    return url.partition("://")[2].partition("#")[0].partition("?")[0].partition("/")[2]


_STANDARD = str.maketrans("-_", "+/")


def standard_base64(data: str) -> str:
    """Base64 in the standard alphabet with its padding: SDKs of Gemini send the URL-safe one."""
    if "-" in data or "_" in data:
        data = data.translate(_STANDARD)
    return data if len(data) % 4 == 0 else data + "=" * (-len(data) % 4)
