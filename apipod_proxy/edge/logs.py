"""Log lines, as JSON or as text, written by a thread of their own so that a slow reader of them never holds up the event loop."""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

FLUSH_SECONDS = 0.05
MOST_WAITING = 100_000
"""Lines kept for a reader that has stopped reading; what comes beyond is dropped and counted."""

STANDARD_FIELDS = frozenset(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {"message", "asctime"}

LEVELS = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}


class LineWriter:
    """Collects lines and writes them to a file descriptor in batches, from a thread. ``close`` writes what is left."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        # Appending and taking are atomic, so that the event loop never waits for a lock of the writer.
        self._lines: deque[bytes] = deque()
        self.dropped = 0
        self._wake = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def write(self, line: bytes) -> None:
        """Take ``line``, which ends in a newline. Never waits for the reader."""
        if len(self._lines) >= MOST_WAITING:
            self.dropped += 1
            return
        self._lines.append(line)
        if not self._wake.is_set():
            if self._thread is None:
                # Started by the first line, so that a process which forks before it logs has no thread.
                self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
                self._thread.start()
            self._wake.set()

    def close(self, timeout: float = 2.0) -> None:
        """Write what is waiting, for ``timeout`` seconds at most."""
        self._closed.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        while self._lines or not self._closed.is_set():
            self._wake.wait()
            # Lines of one burst leave in one write; the pause is what a burst may take.
            self._closed.wait(FLUSH_SECONDS)
            self._wake.clear()
            self._flush()

    def _flush(self) -> None:
        lines = self._lines
        view = memoryview(b"".join([lines.popleft() for _ in range(len(lines))]))
        while view:
            try:
                view = view[os.write(self._descriptor, view) :]
            except OSError:
                # Nobody reads the log any more; there is no other place to say so.
                return


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and whatever ``extra`` held."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= extra_of(record)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


class TextFormatter(logging.Formatter):
    """``09:12:33.120 INFO edge: message key=value``, for people."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S.%f")[:-3]
        name = record.name.removeprefix("apipod_proxy.")
        extra = "".join(
            f" {key}={value}" for key, value in extra_of(record).items() if value not in (None, "", [])
        )
        text = f"{time} {record.levelname} {name}: {one_line(record.getMessage())}{one_line(extra)}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


class BatchedHandler(logging.Handler):
    """Formats records and hands them to a LineWriter."""

    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._writer.write(self.format(record).encode("utf-8", "backslashreplace") + b"\n")
        except Exception:
            self.handleError(record)


def extra_of(record: logging.LogRecord) -> Mapping[str, Any]:
    """What the caller gave as ``extra``."""
    return {name: value for name, value in record.__dict__.items() if name not in STANDARD_FIELDS}


def one_line(text: str) -> str:
    """``text`` with control characters escaped: a client's header cannot forge a line of the log or drive a terminal."""
    return (
        text
        if text.isprintable()
        else "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    )


def set_up(level: str, form: str, writer: LineWriter | None = None) -> None:
    """Route every record of this process, those of libraries from WARNING up, through ``writer``; without one straight to stderr.

    A process that will fork must have no thread, so it does without a writer.
    """
    handler = logging.StreamHandler() if writer is None else BatchedHandler(writer)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(max(LEVELS[level], logging.WARNING))
    logging.getLogger("apipod_proxy").setLevel(LEVELS[level])
    # That the database is away is told by who needs it, once; the pool would tell it with a traceback every two seconds.
    logging.getLogger("asyncpg.pool").setLevel(logging.ERROR)
    logging.captureWarnings(True)
