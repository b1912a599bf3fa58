"""Fresh keys."""

from __future__ import annotations

import os
import re

from apipod_proxy.auth.keys import new_key


def test_a_new_key_is_apk_and_43_base64url_characters() -> None:
    keys = {new_key(os.urandom) for _ in range(100)}
    assert len(keys) == 100
    assert all(re.fullmatch(r"apk_[A-Za-z0-9_-]{43}", key) for key in keys)
    assert new_key(lambda count: b"\xff" * count) == "apk_" + "_" * 42 + "8"
