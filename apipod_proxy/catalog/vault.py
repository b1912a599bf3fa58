"""Provider keys: encrypted where they are stored, read anew from the environment where they came from it."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from apipod_proxy.catalog.references import Malformed, Unset, expand
from apipod_proxy.catalog.texts import fits_a_header

MARK = "encrypted:"
_PURPOSE = b"apipod-proxy provider key"
_NONCE_BYTES = 12


class NotOurs(Exception):
    """What was encrypted with another key, or was not encrypted at all."""

    def __str__(self) -> str:
        return "it was not encrypted with this ENCRYPTION_KEY"


class Vault:
    """``key`` is 32 bytes; ``environment`` is what ``${NAME}`` reads; ``random_bytes`` makes nonces."""

    def __init__(
        self, key: bytes, environment: Mapping[str, str], random_bytes: Callable[[int], bytes]
    ) -> None:
        self._aead = AESGCM(key)
        self._random_bytes = random_bytes
        self.environment = environment
        self.fingerprint = hashlib.sha256(_PURPOSE + key).hexdigest()[:16]
        """Tells this key from another, and nothing else of it."""

    def __repr__(self) -> str:
        return f"<Vault names={len(self.environment)}>"

    def encrypt(self, text: str) -> str:
        """``encrypted:`` and base64. The empty text stays as it is, and so does what is encrypted already, by whatever key."""
        if not text or text.startswith(MARK):
            return text
        nonce = self._random_bytes(_NONCE_BYTES)
        return MARK + base64.b64encode(nonce + self._aead.encrypt(nonce, text.encode(), _PURPOSE)).decode()

    def decrypt(self, sealed: str) -> str:
        """The inverse; raises NotOurs."""
        if not sealed:
            return ""
        try:
            raw = base64.b64decode(sealed.removeprefix(MARK), validate=True)
            return self._aead.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], _PURPOSE).decode()
        except (InvalidTag, binascii.Error, ValueError) as exc:
            raise NotOurs from exc

    def holds(self, sealed: str, text: str) -> bool:
        """Whether ``sealed`` is ``text``: encrypted with this key, or left as it was since nobody can read it."""
        try:
            return sealed == text or self.decrypt(sealed) == text
        except NotOurs:
            return False

    def account_key(self, origin: str, sealed: str) -> str:
        """The key of an account: what its ``origin`` says now, else what was stored. Raises NotOurs."""
        if origin:
            try:
                text = expand(origin, self.environment).strip()
            except (Unset, Malformed):
                pass  # this process was started without it: what the one that applied the file read is stored
            else:
                # No request could carry what fits no header: what was applied is the better guess.
                if fits_a_header(text):
                    return text
        return self.decrypt(sealed)
