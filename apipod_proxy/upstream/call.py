"""One request to a server from the moment it is handed to the pool: who is told, and the handle to steer it."""

from __future__ import annotations

from asyncio import Task, TimerHandle
from typing import TYPE_CHECKING, Protocol

from apipod_proxy.catalog.model import Timeouts
from apipod_proxy.errors import UpstreamError

if TYPE_CHECKING:
    from apipod_proxy.upstream.connection import Connection
    from apipod_proxy.upstream.lane import Lane


class Receiver(Protocol):
    """Whoever takes the answer. It is called from inside the read of the socket: no task runs between the two.

    Order: ``head``, any number of ``body``, then ``end``; ``failed`` may come instead of any of them. Exactly one of ``end``
    and ``failed`` comes, once, unless the call is aborted: then neither. Nothing comes before ``send`` has returned.
    """

    def head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """The final head; names are in lower case."""

    def body(self, data: bytes) -> None:
        """Content as it was read, without chunk framing."""

    def end(self) -> None:
        """The message was complete and well framed. The connection is already free again."""

    def failed(self, error: UpstreamError) -> None:
        """No answer, or no more of it."""


class Call:
    """A request under way. ``sent`` tells whether any byte of it was given to a connection."""

    __slots__ = (
        "body",
        "connection",
        "head",
        "lane",
        "opening",
        "paused",
        "receiver",
        "repeatable",
        "sent",
        "timeouts",
        "timer",
    )

    def __init__(
        self,
        lane: Lane,
        head: bytes,
        body: bytes,
        receiver: Receiver,
        timeouts: Timeouts,
        repeatable: bool,
    ) -> None:
        self.lane = lane
        # Kept for the one repeat on a fresh connection, and let go when the answer begins.
        self.head = head
        self.body = body
        # None once the call is over: end, failed and abort all look here first.
        self.receiver: Receiver | None = receiver
        self.timeouts = timeouts
        self.repeatable = repeatable
        self.sent = False
        self.paused = False
        self.connection: Connection | None = None
        self.opening: Task[None] | None = None
        self.timer: TimerHandle | None = None

    @property
    def done(self) -> bool:
        return self.receiver is None

    def pause(self) -> None:
        """Stop reading the answer; what the current read holds still comes. Silence no longer counts as idle."""
        if not self.paused:
            self.paused = True
            if self.connection is not None:
                self.connection.pause()

    def resume(self) -> None:
        if self.paused:
            self.paused = False
            if self.connection is not None:
                self.connection.resume()

    def abort(self) -> None:
        """Give up, at any stage: the connection is closed at once and the receiver hears nothing more. Never raises."""
        if self.receiver is None:
            return
        self.receiver = None
        connection = self.connection
        if connection is not None:
            self.connection = None
            connection.drop()
        else:
            self.lane.forsake(self)

    def disarm(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def fail(self, error: UpstreamError, cause: BaseException | None = None) -> None:
        """Tell the receiver, unless the call is over already."""
        receiver = self.receiver
        if receiver is None:
            return
        self.receiver = None
        self.connection = None
        self.disarm()
        error.__cause__ = cause
        if self.sent:
            # Also when it was the repeat that failed to connect: the first server may have worked before it closed.
            error.sent = True
        try:
            receiver.failed(error)
        except Exception as exc:
            self.lane.report("a receiver raised in failed()", exc)

    def __repr__(self) -> str:
        if self.receiver is None:
            state = "over"
        elif self.connection is not None:
            state = repr(self.connection)
        else:
            state = "connecting" if self.opening is not None else "queued"
        return f"<Call {state}{' paused' if self.paused else ''}>"
