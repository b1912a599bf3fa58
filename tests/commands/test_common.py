from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest

from apipod_proxy.commands.common import loaded, table


def test_columns_line_up() -> None:
    assert table(("A", "LONG"), [("value", "x"), ("v", "y")]) == "A      LONG\nvalue  x\nv      y"


def test_what_is_odd_in_the_env_file_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("PORTT=1\nPORT=99\nHF_TOKEN=x\n")
    given = loaded(Namespace(addr=":1234", env_file=None), {})
    assert (given.settings.host, given.settings.port) == ("0.0.0.0", 1234)
    said = capsys.readouterr().err
    assert "PORTT is no setting" in said
    assert "HF_TOKEN" not in said
