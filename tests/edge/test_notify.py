from __future__ import annotations

import os
import socket
from pathlib import Path

from apipod_proxy.edge.notify import ServiceManager


def test_the_manager_hears_of_start_life_and_end(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        service = ServiceManager({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "30000000"})
        service.ready("It serves.")
        service.alive()
        service.stopping()
        heard = [manager.recv(500) for _ in range(3)]
    assert heard[0].startswith(b"READY=1\nSTATUS=It serves.\n")
    assert heard[1:] == [b"WATCHDOG=1", b"STOPPING=1"]
    assert service.watchdog_seconds == 30


def test_the_abstract_namespace_is_spoken_to() -> None:
    name = f"apipod-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}")
        ServiceManager({"NOTIFY_SOCKET": f"@{name}"}).alive()
        assert manager.recv(100) == b"WATCHDOG=1"


def test_without_a_manager_nothing_is_said() -> None:
    service = ServiceManager({})
    service.ready("")
    assert service.watchdog_seconds is None


def test_a_manager_that_is_gone_is_no_error(tmp_path: Path) -> None:
    ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).alive()


def test_a_watchdog_for_another_process_is_not_ours() -> None:
    assert ServiceManager({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}).watchdog_seconds is None
