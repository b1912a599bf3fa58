"""JSON with two kinds of trouble that are no fault of the one who meets them: half characters, and nesting past the fast writer's limit."""

from __future__ import annotations

import json
import re

import orjson

from apipod_proxy.dialect.vocabulary import Json
from apipod_proxy.errors import BadRequest

# Every escape is consumed, so that the one behind an escaped backslash is not taken for one.
_ESCAPE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.",
    re.DOTALL,
)


def loads(text: bytes) -> Json:
    """The value of ``text``. Half a surrogate pair, as some write that cut text in the middle of a character, becomes U+FFFD.

    Raises orjson.JSONDecodeError.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        if b"\\u" not in text:
            raise
        return orjson.loads(mended(text))


def mended(text: bytes) -> bytes:
    """``text`` with half characters replaced; as long as before, so that places in one are places in the other."""
    return _ESCAPE.sub(lambda found: b"\\ufffd" if found[1] else found[0], text)


def dumps(value: Json) -> bytes:
    """``value`` as compact JSON; BadRequest where it is nested deeper than anything can write."""
    try:
        return orjson.dumps(value)
    except TypeError:
        try:
            return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
        except RecursionError as exc:
            raise BadRequest("The request is nested too deeply") from exc
