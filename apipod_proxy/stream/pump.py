"""One attempt: receives what the upstream answers and passes it on. The upstream calls it; nothing here waits."""

from __future__ import annotations

import asyncio
from typing import Protocol

from apipod_proxy.dialect import ProtocolError
from apipod_proxy.dialect.vocabulary import Failure
from apipod_proxy.errors import Kind, ProxyError, UpstreamBroken, UpstreamError, UpstreamStatus
from apipod_proxy.stream.lens import Lens, Quick
from apipod_proxy.stream.outlet import Outlet, Source

HOLD_BYTES = 64 * 1024
"""The most that is held back of a stream before its first content; past it the stream starts as it is."""

ERROR_BYTES = 256 * 1024
"""The most that is read of an error body."""

LINGER_SECONDS = 0.25
"""How long the upstream has, after the terminal event, to end its message. The client has its answer already."""

WHOLE_BYTES = 8 * 1024 * 1024
"""Unary answers up to this size are held whole before the status goes out, so that a cut one can fail over."""

REJECTS = (400, 413, 422)
"""Statuses by which a provider rejects the request itself, where the kind of the error says so too."""

Headers = list[tuple[bytes, bytes]]


class Call(Source, Protocol):
    """The upstream's handle of this attempt."""

    @property
    def sent(self) -> bool: ...
    def abort(self) -> None: ...


class Attempted:
    """What every kind of attempt has: a status, headers, one future, and the collected body where it is not streamed."""

    __slots__ = (
        "_buffer",
        "_size",
        "call",
        "error",
        "first_content_at",
        "headers",
        "loop",
        "status",
        "waiter",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.call: Call | None = None
        self.status = 0
        self.headers: Headers = []
        self.error: ProxyError | None = None
        self.first_content_at: float | None = None
        self.waiter: asyncio.Future[None] = loop.create_future()
        self._buffer: list[bytes] = []
        self._size = 0

    @property
    def collected(self) -> bytes:
        """The body as far as it was held."""
        return b"".join(self._buffer)

    @property
    def received(self) -> int:
        """Bytes of the answer, for an estimate where nothing better is known."""
        return self._size

    def head(self, status: int, headers: Headers) -> None:
        self.status = status
        self.headers = headers

    def failed(self, error: UpstreamError) -> None:
        self.error = error
        self.settle()

    def settle(self) -> None:
        if not self.waiter.done():
            self.waiter.set_result(None)

    def give_up(self, error: ProxyError) -> None:
        """Stop the upstream and end the attempt with ``error``."""
        self.error = error
        if self.call is not None:
            self.call.abort()
        self.settle()

    def hold(self, data: bytes, most: int) -> bool:
        """Keep ``data``; False when that is more than may be kept."""
        self._size += len(data)
        self._buffer.append(data)
        return self._size <= most


class WholePump(Attempted):
    """A unary answer, or an error, held whole."""

    __slots__ = ()

    def body(self, data: bytes) -> None:
        if self.first_content_at is None:
            self.first_content_at = self.loop.time()
        most = WHOLE_BYTES * 8 if self.status < 400 else ERROR_BYTES
        if not self.hold(data, most):
            if self.status >= 400:
                self.end()
                if self.call is not None:
                    self.call.abort()
            else:
                self.give_up(UpstreamBroken(f"a unary answer of more than {most} bytes"))

    def end(self) -> None:
        self.settle()


class StreamPump(Attempted):
    """A streamed answer. Head and early events are held until there is content, so that an early error can still fail over."""

    __slots__ = ("_lens", "_linger", "_outlet", "_passing", "_quick", "_streams", "_write")

    def __init__(self, outlet: Outlet, lens: Lens, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._outlet = outlet
        self._lens = lens
        self._linger: asyncio.TimerHandle | None = None
        self._streams = False
        self._passing = False
        self._quick: Quick | None = None
        """The way of an event in the midst of a stream, of which there are a hundred for each other one."""
        self._write = outlet.client.write

    @property
    def lens(self) -> Lens:
        return self._lens

    @property
    def received(self) -> int:
        return self._outlet.sent if self._passing else self._size

    @property
    def started(self) -> bool:
        """Whether content of this attempt reached the client."""
        return self._passing

    @property
    def delivered(self) -> bool:
        """Whether the whole answer went out, even if the upstream has not ended its message."""
        return self._passing and self._lens.finished

    @property
    def is_stream(self) -> bool:
        """Whether the upstream streams; else the whole body is in ``collected``."""
        return self._streams

    def head(self, status: int, headers: Headers) -> None:
        self.status = status
        self.headers = headers
        self._streams = 200 <= status < 300 and not is_json(headers)

    def body(self, data: bytes) -> None:
        quick = self._quick
        if quick is not None and data.endswith(b"\n\n"):
            out = quick(data)
            if out is not None:
                write = self._write
                if write(out):
                    self._outlet.slow_down()
                return
        if self._passing:
            self._pass_on(data)
        elif self._streams or self._begins_stream(data):
            self._hold_back(data)
        elif not self.hold(data, WHOLE_BYTES if self.status < 400 else ERROR_BYTES):
            self.give_up(UpstreamBroken("an answer that is no stream and too large to hold"))

    def _begins_stream(self, data: bytes) -> bool:
        """Whether this is the first of a stream after all: some servers call events JSON."""
        self._streams = 200 <= self.status < 300 and not self._size and data.startswith(EVENT_STARTS)
        return self._streams

    def _pass_on(self, data: bytes) -> None:
        lens = self._lens
        if lens.finished and not lens.relays_more:
            return
        try:
            out = lens.feed(data)
        except ProtocolError as exc:
            self.give_up(UpstreamBroken(str(exc)))
            return
        if out:
            self._outlet.write(out)
            self._quick = lens.quick
        else:
            self._quick = None
        if lens.finished:
            self._finished()
        elif lens.failure is not None:
            self.give_up(failure_error(lens.failure))

    def _hold_back(self, data: bytes) -> None:
        lens = self._lens
        try:
            out = lens.feed(data)
        except ProtocolError as exc:
            self.give_up(UpstreamBroken(str(exc)))
            return
        if lens.failure is not None:
            self.give_up(failure_error(lens.failure))
        elif not lens.content:
            if not self.hold(out, HOLD_BYTES):
                self._start(b"")
        else:
            self._start(out)

    def _start(self, out: bytes) -> None:
        if not self._outlet.claim(self, self.call):
            self.give_up(UpstreamBroken("another attempt answered first"))
            return
        self.first_content_at = self.loop.time()
        self._passing = True
        if self._buffer:
            out = b"".join(self._buffer) + out
            self._buffer.clear()
        if out:
            self._outlet.write(out)
            self._quick = self._lens.quick
        if self._lens.finished:
            self._finished()

    def _finished(self) -> None:
        """The terminal event went out. The upstream mostly ends its message in the same read, and so keeps its connection."""
        if self._linger is None:
            self._linger = self.loop.call_later(LINGER_SECONDS, self._stop_lingering)

    def _stop_lingering(self) -> None:
        if not self._outlet.ended:
            self._outlet.finish()
        if self.call is not None:
            self.call.abort()
        self.settle()

    def give_up(self, error: ProxyError) -> None:
        if self.delivered:
            self._stop_lingering()  # the answer is whole, whatever comes after it
        else:
            super().give_up(error)

    def end(self) -> None:
        self._close(None)

    def failed(self, error: UpstreamError) -> None:
        # A reset after the end is no error: the answer was whole.
        self._close(error)

    def _close(self, error: UpstreamError | None) -> None:
        if self._linger is not None:
            self._linger.cancel()
        if self.delivered:
            self._end_with(b"")
        elif not self._streams or (error is not None and not self._lens.framed):
            self.error = error
        else:
            try:
                last = self._lens.eof()
            except ProtocolError as exc:
                self.error = error or UpstreamBroken(str(exc))
            else:
                if self._lens.failure is not None:
                    self.error = failure_error(self._lens.failure)
                else:
                    self._end_with(last)
        self.settle()

    def _end_with(self, last: bytes) -> None:
        if not self._passing:
            self._start(last)
        elif last:
            self._outlet.write(last)
        if self._passing and not self._outlet.ended:
            self._outlet.finish()


EVENT_STARTS = (b"data:", b"event:", b"id:", b":")
"""How an event begins, and JSON does not."""


def is_json(headers: Headers) -> bool:
    """Whether the content type is JSON, and so no stream of events."""
    for name, value in headers:
        if name == b"content-type":
            return b"json" in value and b"stream" not in value and b"ndjson" not in value
    return False


def failure_error(failure: Failure) -> UpstreamStatus:
    """An error that a provider put into its stream, as if it had come with a status."""
    error = UpstreamStatus(
        failure.status or 502,
        failure.message,
        kind=Kind(failure.kind) if failure.kind in Kind.__members__.values() else Kind.UPSTREAM,
        code=failure.code,
        retry_after=failure.retry_after,
        final=failure.status in REJECTS and failure.kind in (Kind.INVALID_REQUEST, Kind.TOO_LARGE),
    )
    if failure.status == 429:
        # As where it came with this status: where no other candidate does better, it says more than a bad gateway.
        error.status = 429
    return error
