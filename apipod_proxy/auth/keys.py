"""What a fresh client key is made of."""

from __future__ import annotations

import base64
from collections.abc import Callable

MARK = "apk_"


def new_key(random_bytes: Callable[[int], bytes]) -> str:
    """A fresh key: ``apk_`` and 43 base64url characters of 32 random bytes."""
    return MARK + base64.urlsafe_b64encode(random_bytes(32)).rstrip(b"=").decode()
