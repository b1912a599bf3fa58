"""Where the workers of one parent find each other: a folder of their own, whatever else shares the folder around it."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from pathlib import Path

LOCK = "lock"


class RunFolder:
    """A fresh folder in ``parent``, held by a lock until it is removed or all who inherited it have ended. Raises OSError.

    Not told by process id who holds one: in containers, which may share ``parent``, many processes have the same one.
    """

    def __init__(self, parent: Path) -> None:
        self.path = parent / f"{os.getpid()}-{secrets.token_hex(4)}"
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # One at a time: a folder that is made and not yet locked looks like one that was left behind.
        turn = os.open(parent / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(turn, fcntl.LOCK_EX)
            _remove_left(parent)
            self.path.mkdir(mode=0o700)
            self._lock = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        finally:
            os.close(turn)

    def __repr__(self) -> str:
        return f"<RunFolder {self.path}>"

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def _remove_left(parent: Path) -> None:
    """Remove the folders of those who died without doing so."""
    for entry in parent.iterdir():
        if entry.is_dir() and not _held(entry):
            shutil.rmtree(entry, ignore_errors=True)


def _held(folder: Path) -> bool:
    try:
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:
        return True  # somebody else's
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(lock)
