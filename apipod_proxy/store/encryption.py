"""The key that provider keys are encrypted with, where the operator gives none: made once, beside the database."""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path

from apipod_proxy.errors import StoreError

FILE_NAME = "encryption.key"


def encryption_key(configured: bytes | None, data_dir: Path, *, is_sqlite: bool) -> bytes:
    """The 32 bytes of ENCRYPTION_KEY, else of ``encryption.key`` in ``data_dir``, made if it is not there. Blocks.

    Raises StoreError: on PostgreSQL, whose rows other machines must read too, nothing is made.
    """
    if configured is not None:
        return configured
    if not is_sqlite:
        raise StoreError(
            "ENCRYPTION_KEY is not set, and PostgreSQL demands it; allowed: 32 bytes in base64, the same on every replica"
        )
    path = data_dir / FILE_NAME
    try:
        if not path.exists():
            _make(path)
        return _read(path)
    except OSError as exc:
        raise StoreError(f"{path} cannot be read or made: {exc.strerror}") from exc


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(base64.b64encode(os.urandom(32)) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        # A link appears whole and only once: of two processes that start at once, the second reads what the first made.
        os.link(draft, path)
    except FileExistsError:
        pass  # the other process was first
    finally:
        draft.unlink()


def _read(path: Path) -> bytes:
    try:
        key = base64.b64decode(path.read_bytes(), validate=False)
    except binascii.Error:
        key = b""
    if len(key) != 32:
        raise StoreError(f"{path} does not hold 32 bytes in base64")
    return key
