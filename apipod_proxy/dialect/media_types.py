"""Media types and kinds: which kind a type is of, and which type a name suggests. A table of its own, the same on every machine."""

from __future__ import annotations

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


def path_of(url: str) -> str:
    """The path in a URL, which may be any text: no client's URL fails here."""
    return url.partition("://")[2].partition("#")[0].partition("?")[0].partition("/")[2]


_STANDARD = str.maketrans("-_", "+/")


def standard_base64(data: str) -> str:
    """Base64 in the standard alphabet with its padding: SDKs of Gemini send the URL-safe one."""
    if "-" in data or "_" in data:
        data = data.translate(_STANDARD)
    return data if len(data) % 4 == 0 else data + "=" * (-len(data) % 4)
