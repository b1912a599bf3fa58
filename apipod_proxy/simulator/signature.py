"""Signatures of thinking: they look like the real ones, and tell whether the text they came with was changed.

There is no secret in them: a simulator wants to notice what a gateway altered or mixed up, not to keep anybody out.
"""

from __future__ import annotations

import base64
import binascii
import hashlib

_LENGTH = 192
# What Google's documentation allows in place of a signature for calls that another model made; SDKs take it for bytes and encode it.
_SKIPPED = ("skip_thought_signature_validator", "context_engineering_is_the_way_to_go")
SKIPPED = frozenset({*_SKIPPED, *(base64.urlsafe_b64encode(text.encode()).decode() for text in _SKIPPED)})


def sign(kind: str, text: str) -> str:
    """The signature of `text`, base64; `kind` keeps those of one dialect apart from another's."""
    digest = hashlib.sha256(text.encode()).digest()
    return _wrap(kind, digest)


def _wrap(kind: str, digest: bytes) -> str:
    body = hashlib.shake_256(b"apipod-simulator/" + kind.encode() + digest).digest(_LENGTH - len(digest))
    return base64.b64encode(digest + body).decode()


def is_ours(kind: str, signature: str, text: str | None) -> bool:
    """Whether `signature` was made here for `text`; with no text, whether it was made here at all.

    Both alphabets of base64 pass: some SDKs turn bytes into the URL-safe one.
    """
    try:
        raw = base64.b64decode(signature.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        return False
    digest = raw[:32]
    if base64.b64encode(raw).decode() != _wrap(kind, digest):
        return False
    return not text or hashlib.sha256(text.encode()).digest() == digest
