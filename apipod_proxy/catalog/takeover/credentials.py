"""The API router's ``credentials.json``: a list of keys in plain JSON, or sealed with AES-256-GCM."""

from __future__ import annotations

import base64
import binascii

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from apipod_proxy.catalog.takeover.builder import NothingToTake
from apipod_proxy.catalog.takeover.environment import CONFIG_ENCRYPTION_KEY

_NONCE_BYTES = 12
_KEY_BYTES = 32


def is_sealed(text: str) -> bool:
    """Whether the whole file is one piece of base64."""
    packed = text.strip()
    if not packed or len(packed) % 4 or packed[0] in "[{":
        return False
    try:
        base64.b64decode(packed, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def unseal(text: str, key: str) -> str:
    """The JSON in a sealed file; ``key`` is CONFIG_ENCRYPTION_KEY, whose 32 bytes are used as they are. Raises NothingToTake."""
    secret = key.encode("utf-8", "surrogateescape")
    if len(secret) != _KEY_BYTES:
        problem = f"has {len(secret)} bytes" if secret else "is not in the environment"
        raise NothingToTake(
            f"credentials.json is encrypted, and {CONFIG_ENCRYPTION_KEY} {problem}; allowed: its 32 bytes"
        )
    raw = base64.b64decode(text.strip())
    try:
        return AESGCM(secret).decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], None).decode()
    except (InvalidTag, ValueError) as exc:
        raise NothingToTake(f"credentials.json was not encrypted with this {CONFIG_ENCRYPTION_KEY}") from exc


def keys_by_platform(text: str, key: str, notes: list[str]) -> dict[str, list[str]]:
    """The keys of each platform, in order, each once; entries that are none are noted. Raises NothingToTake."""
    plain = unseal(text, key) if is_sealed(text) else text
    try:
        entries = orjson.loads(plain)
    except orjson.JSONDecodeError as exc:
        raise NothingToTake(f"credentials.json: line {exc.lineno}: this is no JSON") from exc
    if not isinstance(entries, list):
        raise NothingToTake("credentials.json holds no list; allowed: [{platform, type, value}]")
    found: dict[str, list[str]] = {}
    for place, entry in enumerate(entries):
        platform, value = (
            (entry.get(name) for name in ("platform", "value")) if isinstance(entry, dict) else (None, None)
        )
        if not isinstance(platform, str) or not isinstance(value, str) or not value.strip():
            notes.append(f"credentials.json[{place}]: no platform or no value, left out")
            continue
        if entry.get("type", "api-key") != "api-key":
            notes.append(f"credentials.json[{place}]: the type {entry['type']!r} is not known, left out")
            continue
        pool = found.setdefault(platform, [])
        if value.strip() not in pool:
            pool.append(value.strip())
    return found
