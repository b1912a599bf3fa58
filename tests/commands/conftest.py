"""The command line as a person uses it: in an empty folder, with nothing configured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from apipod_proxy.cli import main


class Ran:
    """What a command said, and its exit code."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    def __repr__(self) -> str:
        return f"<Ran {self.code} {self.out!r} {self.err!r}>"


Run = Callable[..., Ran]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in a folder of its own; ``environ`` is all it sees."""
    monkeypatch.chdir(tmp_path)

    def command(*argv: str, **environ: str) -> Ran:
        code = main(argv, environ)
        out, err = capfd.readouterr()
        return Ran(code, out, err)

    return command
