from __future__ import annotations

import pytest

from apipod_proxy import __version__
from tests.commands.conftest import Run


@pytest.mark.parametrize("spelling", ["version", "--version", "-version"])
def test_the_version_is_told_in_every_spelling(run: Run, spelling: str) -> None:
    assert run(spelling).out == f"apipod-proxy {__version__}\n"
