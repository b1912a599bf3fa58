"""``simulate``: the simulated provider alone."""

from __future__ import annotations

import errno
import os
from argparse import Namespace
from collections.abc import Mapping

from apipod_proxy.mistakes import OperatorMistake
from apipod_proxy.settings import parse_addr
from apipod_proxy.simulator.run import run as run_simulator


def run(arguments: Namespace, environ: Mapping[str, str]) -> int:
    address = parse_addr(arguments.addr)
    host = f"[{address['HOST']}]" if ":" in address["HOST"] else address["HOST"]
    try:
        run_simulator(f"{host}:{address['PORT']}")
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise OperatorMistake(
                f"{arguments.addr} is taken by another program; choose another address with --addr"
            ) from error
        # Asyncio puts a sentence of its own around the system's.
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise OperatorMistake(f"{arguments.addr} cannot be listened on: {reason}") from error
    return 0
