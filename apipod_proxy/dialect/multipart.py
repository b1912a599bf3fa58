"""Forms with files (``multipart/form-data``): where each field stands, so that one of them can be replaced and every other byte be left alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from apipod_proxy.errors import BadRequest

MOST_PARTS = 1000
SHORT = 64 * 1024
"""Fields that are read are at most this long."""

_BOUNDARY = re.compile(r'(?i);\s*boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))')
_NAME = re.compile(rb'(?i)(?:^|;)\s*name=(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))')
_DISPOSITION = re.compile(rb"(?im)^content-disposition:\s*form-data\s*((?:;[^\r\n]*)?)")


class Field(NamedTuple):
    """Where the value of a field begins and ends in the body."""

    name: str
    start: int
    end: int
    is_file: bool = False


class Form(NamedTuple):
    """``content_type`` as the client sent it, with its boundary."""

    content_type: str
    fields: tuple[Field, ...]

    def text(self, body: bytes, name: str) -> str | None:
        """The value of a short field; None where there is none. BadRequest where it stands twice or is no text."""
        found = [field for field in self.fields if field.name == name]
        if not found:
            return None
        if len(found) > 1:
            raise BadRequest("This field is given twice", f"$.{name}")
        value = body[found[0].start : found[0].end]
        if len(value) > SHORT:
            raise BadRequest("This field is too long", f"$.{name}")
        try:
            return value.decode()
        except UnicodeDecodeError as exc:
            raise BadRequest("Expected text in UTF-8", f"$.{name}") from exc

    def has(self, name: str) -> bool:
        return any(field.name == name for field in self.fields)

    def text_bytes(self) -> int:
        """Bytes of all fields that are no files."""
        return sum(field.end - field.start for field in self.fields if not field.is_file)


def read_form(content_type: str, body: bytes) -> Form:
    """The fields of ``body``. Raises BadRequest for what is no form."""
    found = _BOUNDARY.search(content_type)
    if (
        not content_type.lower().startswith("multipart/form-data")
        or found is None
        or not _plain(content_type)
    ):
        raise BadRequest("Expected a body of the type multipart/form-data with a boundary.")
    mark = b"--" + (found[1] or found[2]).encode()
    fields: list[Field] = []
    at = 0 if body.startswith(mark) else _next(body, mark, 0) + 2
    while True:
        at += len(mark)
        if body[at : at + 2] == b"--":
            return Form(content_type, tuple(fields))
        line = body.find(b"\r\n", at)
        # What may follow a boundary is white space alone.
        if line < 0 or body[at:line].strip(b" \t"):
            raise _broken()
        end = _next(body, mark, line)
        head = line if body.startswith(b"\r\n\r\n", line) else body.find(b"\r\n\r\n", line, end)
        if head < 0 or len(fields) >= MOST_PARTS:
            raise _broken()
        fields.append(_field(body[line + 2 : head], head + 4, end))
        at = end + 2


def replaced(body: bytes, form: Form, values: Mapping[str, str]) -> bytes:
    """``body`` with the values of fields replaced; every other byte is the same."""
    pieces: list[bytes] = []
    at = 0
    for field in form.fields:
        value = values.get(field.name)
        if value is not None:
            pieces += (body[at : field.start], value.encode())
            at = field.end
    pieces.append(body[at:])
    return b"".join(pieces)


def _next(body: bytes, mark: bytes, start: int) -> int:
    """Where the line end in front of the next boundary is."""
    found = body.find(b"\r\n" + mark, start)
    if found < 0:
        raise _broken()
    return found


def _field(head: bytes, start: int, end: int) -> Field:
    disposition = _DISPOSITION.search(head)
    name = None if disposition is None else _NAME.search(disposition[1])
    if disposition is None or name is None:
        raise _broken()
    text = (name[1] if name[1] is not None else name[2]).decode("utf-8", "replace")
    return Field(text, start, end, b"filename" in disposition[1].lower())


def _plain(text: str) -> bool:
    """Whether ``text`` can stand in a header as it is."""
    return text.isascii() and text.isprintable()


def _broken() -> BadRequest:
    return BadRequest("The body is no valid multipart/form-data.")
