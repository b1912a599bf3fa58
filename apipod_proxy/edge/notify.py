"""What the service manager is told: ``sd_notify`` of systemd, which is one datagram."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping


class ServiceManager:
    """Speaks to the manager that ``environ`` names; says nothing where there is none."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        # A leading @ means the abstract namespace.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        # A set pid says whom the watchdog is for; another process must not answer it.
        for_us = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        interval = environ.get("WATCHDOG_USEC", "") if for_us else ""
        self.watchdog_seconds = int(interval) / 1_000_000 if interval.isdigit() and int(interval) else None
        """How long the manager waits for a sign of life before it restarts the service; None: it does not."""

    def ready(self, status: str) -> None:
        self._say(f"READY=1\nSTATUS={status}\nMAINPID={os.getpid()}")

    def stopping(self) -> None:
        self._say("STOPPING=1")

    def alive(self) -> None:
        self._say("WATCHDOG=1")

    def _say(self, text: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as speaker:
                speaker.sendto(text.encode(), self._address)
        except OSError:
            # The manager is gone or does not listen: the service runs without being watched.
            return
