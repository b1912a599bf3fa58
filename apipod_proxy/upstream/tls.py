"""TLS towards servers: always verified, sessions resumed, one context for each set of authorities."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any, Final

SESSION_LIMIT: Final = 1024


class ResumingContext(ssl.SSLContext):
    """A client context that offers each server the last session had with it.

    asyncio and uvloop make their TLS objects with ``wrap_bio`` and have no parameter for a session; this is the one
    place where it can be put in. Resuming saves the certificates and their verification: about half of a handshake.
    """

    sessions: dict[str, ssl.SSLSession]

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        kwargs.setdefault("session", self.sessions.get(kwargs.get("server_hostname") or ""))
        return super().wrap_bio(*args, **kwargs)


def remember(transport: asyncio.BaseTransport) -> None:
    """Keep the session of a TLS connection that has served an answer: by then the server's tickets have arrived."""
    held: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    if held is None or not isinstance(held.context, ResumingContext) or not held.server_hostname:
        return
    sessions = held.context.sessions
    if len(sessions) >= SESSION_LIMIT:
        sessions.clear()
    session: ssl.SSLSession | None = held.session
    if session is not None:
        sessions[held.server_hostname] = session


def make_context(ca_file: str | None) -> ResumingContext:
    """Reads the system's authorities and ``ca_file`` (PEM); takes 10 to 20 ms. Raises OSError for a bad file."""
    context = ResumingContext(ssl.PROTOCOL_TLS_CLIENT)
    context.sessions = {}
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.load_default_certs()
    if not system_authorities():
        _load_certifi(context)
    if ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
    return context


def system_authorities() -> bool:
    """Whether OpenSSL finds a certificate store on this machine; slim container images have none."""
    paths = ssl.get_default_verify_paths()
    # Both are None where there is nothing, whatever their types say.
    if paths.cafile:
        return True
    return bool(paths.capath) and any(Path(paths.capath).iterdir())


def _load_certifi(context: ssl.SSLContext) -> None:
    try:
        # Not a requirement of ours: many environments have it, and it is wanted only where the system has nothing.
        import certifi
    except ImportError:
        return
    context.load_verify_locations(cafile=certifi.where())


class Contexts:
    """The contexts made so far, by extra authorities; making one reads files, so it happens in a thread."""

    __slots__ = ("_made", "_making")

    def __init__(self) -> None:
        self._made: dict[str | None, ResumingContext] = {}
        self._making = asyncio.Lock()

    async def get(self, ca_file: str | None) -> ResumingContext:
        """Raises OSError when ``ca_file`` cannot be read."""
        context = self._made.get(ca_file)
        if context is None:
            async with self._making:
                context = self._made.get(ca_file)
                if context is None:
                    context = await asyncio.to_thread(make_context, ca_file)
                    self._made[ca_file] = context
        return context
