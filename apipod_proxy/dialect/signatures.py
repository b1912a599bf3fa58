"""How a signature of one provider travels through a client of another dialect, and is known again on the next turn.

A dialect's own signatures stand bare. A foreign one is labelled with who made it, so that the next request, which brings the
whole conversation back, can tell it from one of its own: ``@gemini/call:CiQB…``. Neither ``@`` nor ``:`` occurs in base64, which all
genuine signatures are.

``place`` says where a signature stood when the client's dialect has no such place: ``call`` on a tool call, ``text`` on a text (Gemini
signs both). It then stands on a thinking block, which may be empty, right before the call or right after the text.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import NamedTuple

from apipod_proxy.dialect.words import Words

LABEL = re.compile(r"@([a-z0-9_]{1,32})(?:/([a-z]{1,8}))?:")

CALL = "call"
TEXT = "text"


class Signed(NamedTuple):
    """``signed_by`` is None where the text carries no label: then it is the own signature of the dialect that it was read from."""

    signature: str
    signed_by: str | None
    place: str = ""


def wrap(signature: str, signed_by: str, place: str = "") -> str:
    """``signature`` labelled with the dialect that made it and the place it stood at."""
    return f"@{signed_by}/{place}:{signature}" if place else f"@{signed_by}:{signature}"


def wrap_foreign(signature: str, signed_by: str | None, own: str, place: str = "") -> str:
    """``signature`` as a client of the dialect ``own`` gets it: bare where that dialect made it and has such a place."""
    if signed_by in (own, None) and not place:
        return signature
    return wrap(signature, signed_by or own, place)


def unwrap(text: str) -> tuple[str, str | None]:
    """(signature, who made it or None where there is no label)."""
    found = LABEL.match(text)
    return (text[found.end() :], found[1]) if found else (text, None)


def unwrap_placed(text: str) -> Signed:
    """Like ``unwrap``, with the place."""
    found = LABEL.match(text)
    return Signed(text[found.end() :], found[1], found[2] or "") if found else Signed(text, None)


def wrap_base64(signature: str, signed_by: str, place: str = "") -> str:
    """``wrap`` for clients that read a signature as base64 (the SDKs of Gemini do)."""
    return base64.b64encode(wrap(signature, signed_by, place).encode()).decode()


def unwrap_base64(text: str) -> Signed:
    """The inverse of ``wrap_base64``; what it did not make comes back as it is. Takes both alphabets, since SDKs re-encode."""
    # Base64 of "@" and a lower-case letter begins so; genuine signatures are not decoded at all.
    if not text.startswith("QG"):
        return Signed(text, None)
    padded = text.translate(_STANDARD) + "=" * (-len(text) % 4)
    try:
        inner = base64.b64decode(padded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return Signed(text, None)
    signed = unwrap_placed(inner)
    return signed if signed.signed_by else Signed(text, None)


_STANDARD = str.maketrans("-_", "+/")

_LABEL = rb"@[a-z0-9_]{1,32}(?:/[a-z]{1,8})?:|QG[A-Za-z0-9+/_-]{8}"
_LABELLED = rb"(?:" + _LABEL + rb")"
_LABELLED_OR_EMPTY = rb"(?:" + _LABEL + rb'|")'
_UNCLEAN = rb'[A-Za-z0-9_-]*+[^A-Za-z0-9_"-]'


def _place(name: bytes, foreign: bytes = _LABELLED) -> re.Pattern[bytes]:
    """A member, by its name in quotes, whose value begins as one does that is not the dialect's own."""
    return re.compile(name + rb'\s*+:\s*+"' + foreign)


_SIGNATURE = _place(b'"signature"', _LABELLED_OR_EMPTY)
_DATA = _place(b'"data"')
_ENCRYPTED = _place(b'"encrypted_content"')
_RESULT = _place(b'"tool_use_id"', _UNCLEAN)
_CAMEL = _place(b'"thoughtSignature"')
_SNAKE = _place(b'"thought_signature"')

# The places of each dialect. Before them stands a word without which a request has none of them, where that is sooner looked for.
_PLACES: Mapping[str, tuple[tuple[Words | None, tuple[re.Pattern[bytes], ...]], ...]] = {
    "openai_chat": (
        (Words(b"reasoning_details"), (_SIGNATURE, _DATA)),
        (Words(b"thought_signature"), (_SNAKE,)),
    ),
    "anthropic": ((None, (_SIGNATURE, _RESULT)), (Words(b"redacted_thinking"), (_DATA,))),
    "gemini": ((None, (_CAMEL,)), (Words(b"thought_signature"), (_SNAKE,))),
    "openai_responses": ((Words(b"encrypted_content"), (_ENCRYPTED,)), (None, (_SIGNATURE,))),
}


def carries_labels(dialect: str, body: bytes) -> bool:
    """Whether a request brings thinking of another dialect's provider, with its label or unsigned, or the id of a call that Claude would refuse: it
    cannot be passed on as it stands.

    Asked of every spliced request.
    """
    for word, places in _PLACES[dialect]:
        if word is not None and not word.stand_in(body):
            continue
        for place in places:
            if place.search(body) is not None:
                return True
    return False
