"""``version``."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping

from apipod_proxy import __version__


def run(arguments: Namespace, environ: Mapping[str, str]) -> int:
    print(f"apipod-proxy {__version__}")
    return 0
