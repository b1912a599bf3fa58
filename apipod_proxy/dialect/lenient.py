"""JSON with three kinds of trouble that are no fault of the one who meets them: half characters, nesting past the fast writer's limit, and
integers of more than 64 bits, which the fast reader takes for fractions.
"""

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
_LONG = re.compile(rb"[0-9]{19}")


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


def loads_exactly(text: bytes) -> Json:
    """As ``loads``, with integers of any length as they are: for arguments of calls, which hold amounts and ids."""
    value = loads(text)
    if _LONG.search(text) is None:
        return value
    try:
        return json.loads(mended(text))
    except (ValueError, RecursionError):
        # Nested deeper, or with more digits, than the slow reader takes.
        return value


def arguments_object(text: str) -> dict[str, Json]:
    """The arguments of a call as the object that some dialects want; what a model wrote that is none is kept under a name of ours."""
    if not text.strip():
        return {}
    try:
        value = loads_exactly(text.encode("utf-8", "surrogatepass"))
    except orjson.JSONDecodeError:
        return {"arguments": text}
    if value is None:
        # What some models write for a tool without parameters.
        return {}
    return value if isinstance(value, dict) else {"arguments": value}


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
