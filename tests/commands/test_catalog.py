from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.commands.conftest import Run

CATALOG = """
providers:
  openai: {type: openai, api_key: "${OPENAI_API_KEY}"}
  local: {type: openai_compatible, base_url: "http://127.0.0.1:9", api_key: plain-secret-key}
models:
  gpt-4o: {provider: openai}
subscriptions:
  pro: {routes: {gpt-4o: {targets: [{model: gpt-4o}]}}}
users:
  alice: {subscription: pro, keys: [{key: sk-alice-0123456789abcdef, name: laptop}]}
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "catalog.yaml"
    path.write_text(CATALOG)
    return str(path)


def test_apply_says_what_it_changed_and_then_that_nothing_did(run: Run, file: str) -> None:
    first = run("apply", file, OPENAI_API_KEY="sk-openai")
    assert first.code == 0
    assert "created 2 providers: " in first.out
    assert "created 1 keys: " in first.out
    assert run("apply", file, OPENAI_API_KEY="sk-openai").out == "nothing changed\n"


def test_what_was_exported_changes_nothing_when_applied(run: Run, file: str, tmp_path: Path) -> None:
    run("apply", file, OPENAI_API_KEY="sk-openai")
    exported = run("export")
    assert "${OPENAI_API_KEY}" in exported.out
    assert "encrypted:" in exported.out
    for secret in ("sk-openai", "plain-secret-key", "sk-alice-0123456789abcdef"):
        assert secret not in exported.out
    back = tmp_path / "back.yaml"
    assert run("export", "--output", str(back)).code == 0
    assert [line for line in back.read_text().splitlines() if "encrypted:" not in line] == [
        line for line in exported.out.splitlines() if "encrypted:" not in line
    ]
    assert back.stat().st_mode & 0o777 == 0o600
    assert "nothing changed" in run("apply", str(back), OPENAI_API_KEY="sk-openai").out
    assert "plain-secret-key" in run("export", "--secrets", OPENAI_API_KEY="sk-openai").out


def test_a_catalog_may_come_through_a_pipe(run: Run) -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as file:
        file.write(CATALOG)
    with os.fdopen(reading):
        said = run("apply", f"/dev/fd/{reading}", OPENAI_API_KEY="sk-openai").out
    assert "created 2 providers: " in said


def test_mistakes_are_a_line_each_and_change_nothing(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text("modells: {}\nproviders: {x: {type: nothing}}\n")
    ran = run("apply", str(path))
    assert ran.code == 1
    lines = ran.err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"apipod-proxy: {path}") for line in lines)
    assert "providers" not in run("export").out


@pytest.mark.parametrize(
    "argv", [("apply", "nowhere.yaml"), ("check", "--config", "nowhere.yaml"), ("export", "-o", "/nowhere/x")]
)
def test_a_file_that_is_not_there_is_one_line(run: Run, argv: tuple[str, ...]) -> None:
    ran = run(*argv)
    assert ran.code == 1
    assert ran.err.splitlines()[-1].startswith("apipod-proxy: ")
    assert "No such file or directory" in ran.err


def test_a_file_that_is_no_text_is_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    assert "is no UTF-8 text" in run("apply", "binary.yaml").err
