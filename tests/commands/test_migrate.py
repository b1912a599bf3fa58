from __future__ import annotations

import sqlite3
from pathlib import Path

from tests.commands.conftest import Run


def test_migrate_says_what_it_did(run: Run) -> None:
    assert "0001_initial" in run("migrate").out
    assert run("migrate").out == "data/proxy.db: up to date\n"


def test_the_tables_of_somebody_else_are_not_touched(run: Run, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "theirs.db") as theirs:
        theirs.execute("CREATE TABLE users (name TEXT)")
    theirs.close()
    ran = run("migrate", DATABASE_PATH="theirs.db")
    assert ran.code == 1
    assert "holds tables of another program" in ran.err
    assert len(ran.err.splitlines()) == 1


def test_a_database_that_is_away_is_one_line(run: Run) -> None:
    ran = run("migrate", DATABASE_URL="postgresql://nobody:secret@127.0.0.1:9/none")
    assert ran.code == 1
    assert len(ran.err.splitlines()) == 1
    assert "secret" not in ran.err
