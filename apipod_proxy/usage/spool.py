"""Usage rows on disk, for as long as the store is away: one file a worker, one JSON line a row."""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path

import orjson

from apipod_proxy.usage.record import UsageRow, row_from_columns

logger = logging.getLogger(__name__)

SUFFIX = ".usage.jsonl"
REJECTED = "rejected.jsonl"


class _File:
    """One locked file: rows are appended at its end and taken from ``at``."""

    __slots__ = ("at", "descriptor", "path", "rows")

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor
        self.at = 0
        self.rows = 0


class Spool:
    """A queue in ``folder``, whose files are locked while their process lives: ``open`` takes over those of dead ones.

    All methods block and belong in a thread; they are never called from two at once. ``rows`` may be read from anywhere.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        # Replicas may share a folder, and in containers they have the same process id.
        self._path = folder / f"{name}-{os.getpid()}-{secrets.token_hex(4)}{SUFFIX}"
        self._files: list[_File] = []
        self._taken: tuple[int, int] = (0, 0)
        self.rows = 0
        """Rows that wait on disk."""

    def __repr__(self) -> str:
        return f"<Spool {self._path.name} rows={self.rows} files={len(self._files)}>"

    def open(self) -> int:
        """Locks the files that no living process holds; the number of rows in them."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(self._folder.glob(f"*{SUFFIX}")):
            file = _locked(path)
            if file is not None:
                file.rows = sum(1 for line in path.read_bytes().split(b"\n") if line)
                self._files.append(file)
                self.rows += file.rows
        return self.rows

    def append(self, rows: Iterable[UsageRow]) -> None:
        """Adds ``rows`` and has them on the disk when it returns. Raises OSError and has added nothing then."""
        lines = [row.as_json() for row in rows]
        if not lines:
            return
        file = next((file for file in self._files if file.path == self._path), None)
        if file is None:
            file = _locked(self._path)
            if file is None:
                raise OSError(f"{self._path} is held by another process")
            self._files.append(file)
        _append(file.descriptor, lines)
        file.rows += len(lines)
        self.rows += len(lines)

    def read(self, most: int) -> list[UsageRow]:
        """Up to ``most`` of the oldest rows, which stay until ``forget``. Lines that are no rows are logged and skipped."""
        while self._files:
            file = self._files[0]
            lines, end = _lines_from(file, most)
            if lines:
                self._taken = (end, len(lines))
                return [row for row in map(_row, lines) if row is not None]
            self._drop(file)
        return []

    def forget(self) -> None:
        """Removes what ``read`` gave last; a file that is used up is deleted."""
        end, count = self._taken
        if not count or not self._files:
            return
        self._taken = (0, 0)
        file = self._files[0]
        file.at = end
        file.rows -= count
        self.rows -= count
        if file.rows <= 0:
            self._drop(file)

    def reject(self, rows: Iterable[UsageRow]) -> None:
        """Keeps ``rows`` that no store takes in a file that is never read again by this program."""
        path = self._folder / REJECTED
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            _append(descriptor, [row.as_json() for row in rows])
        finally:
            os.close(descriptor)

    def close(self, left: Sequence[UsageRow] = ()) -> None:
        """Adds ``left`` and lets go of the files. Raises OSError if they could not be written."""
        try:
            self.append(left)
        finally:
            for file in list(self._files):
                if file.rows <= 0:
                    self._drop(file)
                else:
                    os.close(file.descriptor)
            self._files.clear()

    def _drop(self, file: _File) -> None:
        self._files.remove(file)
        self.rows -= file.rows
        # Deleted while it is locked, so nobody can adopt it in between.
        file.path.unlink(missing_ok=True)
        os.close(file.descriptor)


def _locked(path: Path) -> _File | None:
    """``path`` opened and locked; None if another process holds it, or deleted it meanwhile."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    if os.fstat(descriptor).st_nlink == 0:
        os.close(descriptor)
        return None
    return _File(path, descriptor)


def _append(descriptor: int, lines: Sequence[bytes]) -> None:
    before = os.fstat(descriptor).st_size
    # The leading newline ends a line that a crash may have cut.
    view = memoryview(b"\n" + b"\n".join(lines) + b"\n")
    try:
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, before)
        raise


def _lines_from(file: _File, most: int) -> tuple[list[bytes], int]:
    """Up to ``most`` lines from where the file was read to, and the offset behind them."""
    lines: list[bytes] = []
    with os.fdopen(os.dup(file.descriptor), "rb") as reader:
        reader.seek(file.at)
        while len(lines) < most:
            line = reader.readline()
            if not line:
                break
            if line != b"\n":
                lines.append(line)
        return lines, reader.tell()


def _row(line: bytes) -> UsageRow | None:
    try:
        return row_from_columns(orjson.loads(line))
    except (ValueError, TypeError) as exc:
        logger.error("a line of the usage spool is no row", extra={"bytes": len(line), "reason": str(exc)})
        return None
