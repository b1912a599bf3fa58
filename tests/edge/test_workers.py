"""The parent in a process of its own, with workers that do next to nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from apipod_proxy.edge.workers import reserve_port

PROGRAM = """
import os, select, signal, sys, time
from pathlib import Path
from apipod_proxy.edge.notify import ServiceManager
from apipod_proxy.edge import workers
from apipod_proxy.edge.run_folder import RunFolder
from apipod_proxy.edge.workers import Parent, Seat

workers.HUNG_SECONDS = {hung}
folder = Path(sys.argv[1])

def work(seat: Seat) -> int:
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    if {code!r} is not None:
        return {code!r}
    seat.folder.mkdir(parents=True, exist_ok=True)
    (folder / f"worker-{{seat.number}}").write_text(str(os.getpid()))
    seat.ready()
    while not select.select([seat.parent], [], [], 0.1)[0]:
        seat.beat()
    (folder / "orphaned").write_text("1")
    return 3

sys.exit(Parent({count}, work, RunFolder(folder / "run"), ServiceManager(os.environ), 5.0).run())
"""

Start = Callable[..., "Family"]


class Family:
    """A parent and its workers, who write down their process ids."""

    def __init__(self, folder: Path, count: int, code: int | None, hung: float) -> None:
        self.folder = folder
        self.count = count
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.manager.bind(str(folder / "notify"))
        self.manager.settimeout(10)
        self.parent = subprocess.Popen(
            [sys.executable, "-c", PROGRAM.format(count=count, code=code, hung=hung), str(folder)],
            env={**os.environ, "NOTIFY_SOCKET": str(folder / "notify")},
        )

    def heard(self) -> bytes:
        return self.manager.recv(500)

    def worker(self, number: int, other_than: int = 0) -> int:
        """The process id on that place, once it is not ``other_than``."""
        path = self.folder / f"worker-{number}"
        for _ in range(500):
            if path.exists() and path.read_text().isdigit() and int(path.read_text()) != other_than:
                return int(path.read_text())
            time.sleep(0.02)
        raise AssertionError(f"worker {number} did not start")

    def close(self) -> None:
        if self.parent.poll() is None:
            self.parent.kill()
        self.parent.wait()
        self.manager.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    families: list[Family] = []

    def begin(count: int = 2, code: int | None = None, hung: float = 30.0) -> Family:
        families.append(Family(tmp_path, count, code, hung))
        return families[-1]

    yield begin
    for family in families:
        family.close()


def gone(pid: int) -> bool:
    for _ in range(200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def test_ready_is_told_when_all_listen_and_a_signal_ends_all(start: Start) -> None:
    family = start()
    assert family.heard().startswith(b"READY=1\nSTATUS=2 workers serve.")
    workers = [family.worker(0), family.worker(1)]
    family.parent.send_signal(signal.SIGTERM)
    assert family.heard() == b"STOPPING=1"
    assert family.parent.wait(10) == 0
    assert all(gone(pid) for pid in workers)
    assert [entry.name for entry in (family.folder / "run").iterdir()] == ["lock"]


def test_a_worker_that_dies_is_started_again(start: Start) -> None:
    family = start()
    family.heard()
    first = family.worker(1)
    os.kill(first, signal.SIGKILL)
    assert family.worker(1, other_than=first) != first
    family.parent.send_signal(signal.SIGINT)
    assert family.parent.wait(10) == 0


def test_the_interrupt_of_a_terminal_is_left_to_the_parent(start: Start) -> None:
    status = Path(f"/proc/{start().worker(0)}/status").read_text()
    ignored = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigIgn:"))
    assert ignored & (1 << (signal.SIGINT - 1))


def test_a_worker_that_hangs_is_replaced(start: Start) -> None:
    family = start(hung=0.8)
    family.heard()
    first = family.worker(0)
    time.sleep(0.3)
    os.kill(first, signal.SIGSTOP)
    assert family.worker(0, other_than=first) != first
    assert gone(first)
    family.parent.send_signal(signal.SIGTERM)
    assert family.parent.wait(10) == 0


def test_a_start_that_fails_ends_with_the_code_of_the_worker(start: Start) -> None:
    assert start(code=2).parent.wait(10) == 2


def test_workers_see_the_death_of_their_parent(start: Start) -> None:
    family = start(count=1)
    family.heard()
    family.parent.kill()
    family.parent.wait()
    assert gone(family.worker(0))
    assert (family.folder / "orphaned").exists()


def test_a_port_that_somebody_listens_on_cannot_be_reserved() -> None:
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        with pytest.raises(OSError, match="in use"):
            reserve_port("127.0.0.1", holder.getsockname()[1])


def test_a_reserved_port_takes_no_connections_itself() -> None:
    holders, port = reserve_port("127.0.0.1", 0)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    for holder in holders:
        holder.close()
