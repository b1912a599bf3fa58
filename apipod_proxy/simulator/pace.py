"""Sends an answer as its script wants it: at its pace, and broken where it says so."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Iterator, Mapping

from aiohttp import web

from apipod_proxy.simulator.answers.scene import Frame
from apipod_proxy.simulator.script import Script

# With no gap, every event gets a turn of the event loop, and with it a write of its own.
_POLL = 0.05
_HALF_CLOSED = struct.pack("ii", 1, 0)


class ClientGone(Exception):
    """The client left before the answer was whole."""


class _Broken(Exception):
    """The script broke the connection: there is nothing left to send."""


class Sender:
    """Sends one answer; `failed` gives the frames of an error in the stream, `malformed` is a frame that is no JSON."""

    def __init__(
        self,
        request: web.Request,
        script: Script,
        *,
        failed: Callable[[bool], Iterator[Frame]] = lambda first: iter(()),
        malformed: bytes = b"",
    ) -> None:
        self._request = request
        self._script = script
        self._failed = failed
        self._malformed = malformed

    async def whole(self, body: bytes, headers: Mapping[str, str]) -> web.StreamResponse:
        """A unary answer. The counts of events make no difference here: it breaks in the middle of the body."""
        script = self._script
        if None is script.cut is script.reset is script.half is script.stall is script.bad_chunk:
            return web.Response(body=body, headers=headers)
        response = web.StreamResponse(headers=headers)
        if script.bad_chunk is None:
            response.content_length = len(body)
        await self._prepare(response)
        try:
            await self._write(response, body[: len(body) // 2])
            await self._break(response)
        except _Broken:
            pass  # as the script wants it
        return response

    async def stream(self, frames: Iterator[Frame], headers: Mapping[str, str]) -> web.StreamResponse:
        """A streamed answer, frame by frame."""
        response = web.StreamResponse(headers=headers)
        await self._prepare(response)
        script = self._script
        try:
            if script.comments:
                await self._write(response, b": SIMULATOR PROCESSING\n\n" * script.comments)
            if script.error_first:
                frames = self._failed(True)
            await (self._joined(response, frames) if script.join else self._paced(response, frames))
        except _Broken:
            return response  # as the script wants it
        await response.write_eof()
        return response

    async def _joined(self, response: web.StreamResponse, frames: Iterator[Frame]) -> None:
        await self._write(response, b"".join(data for _, data in frames))

    async def _paced(self, response: web.StreamResponse, frames: Iterator[Frame]) -> None:
        script = self._script
        breaks = self._first_break()
        gap = script.gap / 1000
        loop = asyncio.get_running_loop()
        due = loop.time()
        sent = 0
        for content, data in frames:
            if content:
                if sent == script.half:
                    await self._write(response, data[: len(data) // 2])
                    await self._break(response)
                    return
                if sent == breaks == 0:
                    await self._break(response)
                    return
                if sent == script.malformed:
                    await self._write(response, self._malformed)
                if sent == 0 and script.first:
                    await self._sleep(script.first / 1000)
                    due = loop.time()
                elif sent and gap:
                    # By the clock and not by the sleeps, which would add up their lateness.
                    due += gap
                    await self._sleep(due - loop.time())
                sent += 1
            await self._write(response, data)
            if content and sent == breaks:
                await self._break(response)
                return
            if not gap:
                await asyncio.sleep(0)

    def _first_break(self) -> int | None:
        script = self._script
        places = (script.cut, script.reset, script.end, script.bad_chunk, script.stall, script.error_mid)
        return min((place for place in places if place is not None), default=None)

    async def _prepare(self, response: web.StreamResponse) -> None:
        try:
            await response.prepare(self._request)
        except ConnectionError as exc:
            raise ClientGone from exc

    async def _write(self, response: web.StreamResponse, data: bytes) -> None:
        try:
            if size := self._script.split:
                for start in range(0, len(data), size):
                    await response.write(data[start : start + size])
                    await asyncio.sleep(0)
            else:
                await response.write(data)
        except ConnectionError as exc:
            raise ClientGone from exc

    async def _sleep(self, seconds: float) -> None:
        if seconds > 0:
            await asyncio.sleep(seconds)

    async def _break(self, response: web.StreamResponse) -> None:
        script = self._script
        transport = self._request.transport
        if transport is None:
            raise ClientGone
        if script.error_mid is not None and script.error_mid == self._first_break():
            for _, data in self._failed(False):
                await self._write(response, data)
            return
        if script.end is not None:
            return
        if script.stall is not None:
            await wait_until_gone(self._request)
        if script.bad_chunk is not None:
            transport.write(b"zz\r\nthis is no chunk\r\n")
        if script.reset is not None and (sock := transport.get_extra_info("socket")) is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _HALF_CLOSED)
            transport.abort()
        else:
            transport.close()
        raise _Broken


async def wait_until_gone(request: web.Request) -> None:
    """Says nothing more until the client leaves; raises ClientGone then."""
    # Where handlers are cancelled this never ends by itself; elsewhere aiohttp has no event for a client that left.
    while request.transport is not None and not request.transport.is_closing():  # noqa: ASYNC110
        await asyncio.sleep(_POLL)
    raise ClientGone


def drop(request: web.Request) -> web.StreamResponse:
    """Closes the connection without an answer."""
    if request.transport is not None:
        request.transport.close()
    return web.Response()
