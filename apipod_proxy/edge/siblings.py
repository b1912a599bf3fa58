"""The workers of one port know of each other: each answers on a private unix socket, so that any of them can answer for all."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

METRICS = "metrics"
HEALTH = "health"
ACCOUNTS = "accounts"

ASK_SECONDS = 1.0
"""More than a worker that is busy needs, and less than who scrapes waits."""
MISSING_SECONDS = 0.2
"""What one gets that did not answer the last time: it must not hold up every question."""
ROUND_SECONDS = 1.0
LONGEST_QUESTION = 64

Answers = Mapping[str, Callable[[], bytes]]
"""What this worker says when it is asked, by the name of the question."""


class Siblings:
    """Worker ``index`` of ``count``; sockets live in ``folder``, which only this user can enter."""

    def __init__(self, folder: Path, index: int, count: int, answers: Answers) -> None:
        self.index = index
        self.count = count
        self._folder = folder
        self._answers = answers
        self._others = [number for number in range(count) if number != index]
        self._reports: dict[int, dict[str, Any] | None] = dict.fromkeys(self._others)
        self._silent: set[int] = set()
        self._server: asyncio.Server | None = None
        self._rounds: asyncio.Task[None] | None = None
        self._descriptor = -1

    async def start(self) -> None:
        """Listen for the others, and begin to ask them how they are."""
        listener = await asyncio.to_thread(self._bind)
        self._server = await asyncio.start_unix_server(self._reply, sock=listener)
        self._rounds = asyncio.create_task(self._ask_rounds(), name="siblings")

    async def close(self) -> None:
        if self._rounds is not None:
            self._rounds.cancel()
            await asyncio.gather(self._rounds, return_exceptions=True)
        if self._server is not None:
            self._server.close()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def reports(self) -> Mapping[int, dict[str, Any] | None]:
        """The last health report of every other worker; None: it did not answer."""
        return self._reports

    async def ask(self, question: str) -> dict[int, bytes | None]:
        """The answers of all others, asked now; None for one that is missing."""
        answers = await asyncio.gather(*(self._ask(number, question) for number in self._others))
        return dict(zip(self._others, answers, strict=True))

    async def _ask_rounds(self) -> None:
        while True:
            for number, answer in (await self.ask(HEALTH)).items():
                self._reports[number] = None if answer is None else orjson.loads(answer)
            await asyncio.sleep(ROUND_SECONDS)

    async def _ask(self, number: int, question: str) -> bytes | None:
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(MISSING_SECONDS if number in self._silent else ASK_SECONDS):
                reader, writer = await asyncio.open_unix_connection(self._path(number))
                writer.write(f"{question}\n".encode())
                answer = await reader.read(-1)
            self._silent.discard(number)
            return answer or None
        except (OSError, TimeoutError):
            # It is starting, dying or busy: the caller names it as missing.
            self._silent.add(number)
            return None
        finally:
            if writer is not None:
                writer.close()

    async def _reply(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(ASK_SECONDS):
                question = (await reader.readline())[:LONGEST_QUESTION].decode("ascii", "replace").strip()
                answer = self._answers.get(question)
                if answer is not None:
                    writer.write(answer())
                    await writer.drain()
        except (OSError, TimeoutError):
            # The one who asked has given up.
            return
        finally:
            writer.close()

    def _bind(self) -> socket.socket:
        self._descriptor = _private_folder(self._folder)
        path = Path(self._path(self.index))
        # Left behind by the one who had this place before.
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(path))
        listener.setblocking(False)
        return listener

    def _path(self, number: int) -> str:
        # By way of the folder's descriptor: the path of a unix socket may have 107 bytes, and a data folder may be deep.
        return f"/proc/self/fd/{self._descriptor}/worker-{number}.sock"


def _private_folder(folder: Path) -> int:
    """A descriptor of ``folder``; it and the one it stands in are for this user alone."""
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    return os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
