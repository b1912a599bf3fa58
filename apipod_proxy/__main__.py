"""``python -m apipod_proxy`` is ``apipod-proxy``."""

from __future__ import annotations

import sys

from apipod_proxy.cli import main

if __name__ == "__main__":
    sys.exit(main())
