"""The body of a request, whole: bounded in size after inflation, and in the time between two pieces."""

from __future__ import annotations

import asyncio

from aiohttp import StreamReader, web
from aiohttp.http_exceptions import ContentEncodingError, HttpProcessingError
from aiohttp.web_protocol import RequestPayloadError

from apipod_proxy.edge.incoming import Incoming, Request
from apipod_proxy.errors import BadRequest, BodyTooLarge, RequestTimeout

IDLE_SECONDS = 30.0
MEGABYTE = 1_000_000
INFLATED = ("gzip", "deflate", "identity")
BROKEN_BODY = "The body of the request broke off or its framing is wrong."
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class BodyReader:
    """Reads bodies of at most ``limit_mb`` MB; ``idle_seconds`` may pass between two pieces."""

    def __init__(self, limit_mb: int, idle_seconds: float = IDLE_SECONDS) -> None:
        self._limit_mb = limit_mb
        self._limit = limit_mb * MEGABYTE
        self._idle = idle_seconds

    @property
    def limit(self) -> int:
        """Bytes."""
        return self._limit

    async def read(self, request: Request) -> bytes:
        """The whole body. Raises BadRequest, BodyTooLarge, RequestTimeout; a body that says it is too large is not read at all."""
        if isinstance(request, Incoming):
            return await request.read(self._idle)
        headers = request.headers
        if "Content-Encoding" in headers:
            self._check_encoding(headers["Content-Encoding"])
        elif (length := request.content_length) is not None and length > self._limit:
            raise BodyTooLarge(self._limit_mb)
        content = request.content
        try:
            if content.is_eof():
                # It came in one read with its head: nothing to wait for.
                return self._within(content.read_nowait())
            if "Expect" in headers:
                _say_continue(request)
            return await self._pieces(content)
        except (RequestPayloadError, HttpProcessingError) as exc:
            if isinstance(exc.__cause__ or exc, ContentEncodingError):
                raise BadRequest("The body does not inflate: it is not what content-encoding says.") from exc
            raise BadRequest(BROKEN_BODY) from exc

    async def _pieces(self, content: StreamReader) -> bytes:
        pieces: list[bytes] = []
        size = 0
        while not content.at_eof():
            try:
                async with asyncio.timeout(self._idle):
                    piece = await content.readany()
            except TimeoutError as exc:
                raise RequestTimeout from exc
            size += len(piece)
            if size > self._limit:
                raise BodyTooLarge(self._limit_mb)
            pieces.append(piece)
        return b"".join(pieces)

    def _within(self, body: bytes) -> bytes:
        if len(body) > self._limit:
            raise BodyTooLarge(self._limit_mb)
        return body

    @staticmethod
    def _check_encoding(encoding: str) -> None:
        if encoding.strip().lower() not in INFLATED:
            raise BadRequest("The content-encoding of the request is not understood; gzip and deflate are.")


def _say_continue(request: web.BaseRequest) -> None:
    """A client that asked whether it may send its body is told so, once it is known who it is."""
    if request.version >= (1, 1) and request.headers.get("Expect", "").lower() == "100-continue":
        transport = request.transport
        if transport is not None and not transport.is_closing():
            transport.write(CONTINUE)
