"""``simulate``: the simulated provider alone."""

from __future__ import annotations

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
        raise OperatorMistake(f"{arguments.addr} cannot be listened on: {error.strerror or error}") from error
    return 0
