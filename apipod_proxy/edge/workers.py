"""Several workers on one port: a parent that never serves prepares once, starts them, and starts again what dies."""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from apipod_proxy.edge.notify import ServiceManager
from apipod_proxy.edge.run_folder import RunFolder

log = logging.getLogger("apipod_proxy.workers")

READY = b"R"
BEAT = b"."
BEAT_SECONDS = 1.0
HUNG_SECONDS = 30.0
"""A worker whose loop gives no sign of life for so long is replaced: its share of the connections would wait for nothing."""
SOON_SECONDS = 10.0
"""A worker that lived shorter counts as failing, and waits longer each time before it is started again."""
FIRST_BACKOFF, LONGEST_BACKOFF = 0.5, 30.0
TICK_SECONDS = 0.2
KILL_AFTER_SECONDS = 10.0
"""What workers get beyond their own time to end."""


class Seat(NamedTuple):
    """What a worker is given: who it is, where the others are, how to say that it listens, how to see that its parent is gone."""

    number: int
    workers: int
    folder: Path
    ready: Callable[[], None]
    beat: Callable[[], None]
    """A sign of life, to be given every BEAT_SECONDS once it has been given first."""
    parent: int
    """A descriptor that becomes readable when the parent is gone."""


class _Worker:
    """One of the places and the process on it."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.pid = 0
        self.ready = False
        self.was_ready = False
        self.heard_at: float | None = None
        self.pipe = -1
        self.started_at = 0.0
        self.failures = 0
        self.start_at = 0.0


class Parent:
    """Supervises ``count`` workers; ``work`` runs in each and gives its exit code."""

    def __init__(
        self,
        count: int,
        work: Callable[[Seat], int],
        folder: RunFolder,
        manager: ServiceManager,
        stop_seconds: float,
    ) -> None:
        self._work = work
        self._folder = folder
        self._manager = manager
        self._stop_seconds = stop_seconds + KILL_AFTER_SECONDS
        self._workers = [_Worker(index) for index in range(count)]
        self._announced = False
        self._stopping_since: float | None = None
        self._exit_code = 0
        self._alive_at = 0.0
        # Held open by the parent alone: at its death every worker reads the end of it.
        self._life, self._life_end = os.pipe()
        self._wake, self._wake_end = os.pipe()

    def run(self) -> int:
        """Until a signal has ended all workers, or the first start has failed. Gives the exit code."""
        for descriptor in (self._wake, self._wake_end):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(self._wake_end, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, _noticed)
        try:
            while True:
                self._start_due()
                if self._stopping_since is not None and not any(worker.pid for worker in self._workers):
                    return self._exit_code
                self._wait()
                self._reap()
                self._announce()
                self._insist()
        finally:
            signal.set_wakeup_fd(-1)
            self._folder.remove()

    def _start_due(self) -> None:
        now = time.monotonic()
        for worker in self._workers:
            if not worker.pid and self._stopping_since is None and now >= worker.start_at:
                self._start(worker, now)

    def _start(self, worker: _Worker, now: float) -> None:
        read_end, write_end = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            os.close(read_end)
            os._exit(self._be(worker.index, write_end))
        os.close(write_end)
        os.set_blocking(read_end, False)
        worker.pid, worker.pipe, worker.ready, worker.started_at = pid, read_end, False, now
        worker.heard_at = None

    def _be(self, index: int, write_end: int) -> int:
        """The life of a worker, in its own process."""
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            # Ctrl-C reaches every process of a terminal; the parent passes it on as a SIGTERM.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            os.close(self._life_end)
            os.close(self._wake)
            os.close(self._wake_end)
            for other in self._workers:
                if other.pipe >= 0:
                    os.close(other.pipe)

            os.set_blocking(write_end, False)
            say = partial(_say, write_end)
            return self._work(
                Seat(
                    index,
                    len(self._workers),
                    self._folder.path,
                    partial(say, READY),
                    partial(say, BEAT),
                    self._life,
                )
            )
        except SystemExit as exc:
            return exc.code if isinstance(exc.code, int) else 1
        except BaseException:
            # Nothing above this frame belongs to the worker: what it raises is told here or nowhere.
            traceback.print_exc()
            return 1
        finally:
            sys.stdout.flush()
            sys.stderr.flush()

    def _wait(self) -> None:
        pipes = [worker.pipe for worker in self._workers if worker.pipe >= 0]
        readable, _, _ = select.select([self._wake, *pipes], [], [], TICK_SECONDS)
        if self._wake in readable:
            for number in os.read(self._wake, 512):
                if number in (signal.SIGTERM, signal.SIGINT):
                    self._stop()
        for worker in self._workers:
            if worker.pipe in readable:
                said = os.read(worker.pipe, 512)
                if READY in said:
                    worker.ready = worker.was_ready = True
                if BEAT in said:
                    worker.heard_at = time.monotonic()
                if not said:
                    os.close(worker.pipe)
                    worker.pipe = -1

    def _reap(self) -> None:
        for worker in self._workers:
            if not worker.pid:
                continue
            pid, status = os.waitpid(worker.pid, os.WNOHANG)
            if pid:
                self._bury(worker, os.waitstatus_to_exitcode(status))

    def _bury(self, worker: _Worker, code: int) -> None:
        worker.pid, worker.ready = 0, False
        if worker.pipe >= 0:
            os.close(worker.pipe)
            worker.pipe = -1
        if self._stopping_since is not None:
            self._exit_code = self._exit_code or max(code, 0)
            return
        if not worker.was_ready and not self._announced:
            # A start that does not succeed once will not succeed by repetition.
            log.error("A worker could not start.", extra={"worker": worker.index, "exit_code": code})
            self._exit_code = code if code > 0 else 1
            self._stop()
            return
        lived = time.monotonic() - worker.started_at
        worker.failures = worker.failures + 1 if lived < SOON_SECONDS else 0
        pause = min(LONGEST_BACKOFF, FIRST_BACKOFF * 2 ** (worker.failures - 1)) if worker.failures else 0.0
        worker.start_at = time.monotonic() + pause
        log.error(
            "A worker died; it is started again.",
            extra={"worker": worker.index, "exit_code": code, "pause_seconds": pause},
        )

    def _announce(self) -> None:
        if self._announced or self._stopping_since is not None:
            return
        if all(worker.ready for worker in self._workers):
            self._announced = True
            self._manager.ready(f"{len(self._workers)} workers serve.")
            log.info("All workers serve.", extra={"workers": len(self._workers)})

    def _insist(self) -> None:
        """Sign of life for the service manager; the end of patience with workers that do not end."""
        now = time.monotonic()
        watchdog = self._manager.watchdog_seconds
        if watchdog is not None and now - self._alive_at > watchdog / 3:
            self._alive_at = now
            self._manager.alive()
        ends = self._stopping_since is not None and now - self._stopping_since > self._stop_seconds
        for worker in self._workers:
            hangs = worker.heard_at is not None and now - worker.heard_at > HUNG_SECONDS
            if worker.pid and hangs:
                log.error("A worker hangs; it is replaced.", extra={"worker": worker.index})
            if worker.pid and (hangs or ends):
                os.kill(worker.pid, signal.SIGKILL)
                worker.heard_at = None

    def _stop(self) -> None:
        """Pass the signal on; a second one makes the workers hurry."""
        if self._stopping_since is None:
            self._stopping_since = time.monotonic()
            self._manager.stopping()
        for worker in self._workers:
            if worker.pid:
                os.kill(worker.pid, signal.SIGTERM)


def _say(descriptor: int, word: bytes) -> None:
    """A word to the parent; one that does not read, or is gone, is noticed elsewhere."""
    try:
        os.write(descriptor, word)
    except OSError:
        return


def _noticed(number: int, frame: object) -> None:
    """The number arrives through the wake-up descriptor; without a handler the default action would come first."""


def reserve_port(host: str, port: int) -> tuple[list[socket.socket], int]:
    """Hold the port without listening, and say which it is. OSError where another program listens there.

    Sharing a port would let a second gateway of the same user take half of the connections unnoticed, so it is tried alone first.
    """
    found = socket.getaddrinfo(host or "0.0.0.0", port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = found[0]
    if port:
        with socket.socket(family, kind, protocol) as alone:
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind(address)
    holder = socket.socket(family, kind, protocol)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    holder.bind(address)
    return [holder], holder.getsockname()[1]
