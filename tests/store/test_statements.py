"""Statements and migrations as they are read from files."""

from __future__ import annotations

from pathlib import Path

import pytest

from apipod_proxy.store.statements import Statement, for_rows, load_library, split_statements, sql_folder
from apipod_proxy.store.usage import USAGE_COLUMNS


def test_the_statements_of_the_checkout_are_found_for_both_drivers() -> None:
    named = load_library(sql_folder(), numbered=False)
    numbered = load_library(sql_folder(), numbered=True)
    assert (
        named.statements.keys() == numbered.statements.keys() >= {"read_keys", "insert_usage", "bump_version"}
    )
    assert named.migrations == numbered.migrations
    assert [migration.number for migration in named.migrations] == list(range(1, len(named.migrations) + 1))
    assert {"usage_logs", "apipod_migrations"} <= named.tables
    assert all(":" not in statement.sql.replace("::", "") for statement in numbered.statements.values())


def test_parameters_are_numbered_in_the_order_of_their_first_use(tmp_path: Path) -> None:
    (tmp_path / "a.sql").write_text(
        "-- name: put(b, a)!\n-- A note.\nUPDATE t SET x = :b, y = :a, z = ':no', w = :b;\n", encoding="utf-8"
    )
    (tmp_path / "migrations").mkdir()
    sql = "UPDATE t SET x = $1, y = $2, z = ':no', w = $1"
    assert load_library(tmp_path, numbered=True).statements == {"put": Statement(sql, ("b", "a"))}
    named = load_library(tmp_path, numbered=False).statements["put"]
    assert named == Statement("UPDATE t SET x = :b, y = :a, z = ':no', w = :b", ("b", "a"))


def test_an_insert_is_written_for_many_rows_by_place() -> None:
    sql = "INSERT INTO t (a, b)\nVALUES (:a,\n    :b)\nON CONFLICT (a) DO UPDATE SET b = excluded.b"
    assert for_rows(sql, 2) == (
        "INSERT INTO t (a, b)\nVALUES (?, ?), (?, ?)\nON CONFLICT (a) DO UPDATE SET b = excluded.b"
    )
    with pytest.raises(ValueError, match="no INSERT of named parameters alone"):
        for_rows("INSERT INTO t (a, b) VALUES (:a, 1)", 2)


def test_the_columns_of_usage_stand_in_the_order_of_its_parameters() -> None:
    statement = load_library(sql_folder(), numbered=False).statements["insert_usage"]
    assert statement.parameters == (*USAGE_COLUMNS, "booked_at", "attempt_count")
    assert for_rows(statement.sql, 1).count("?") == len(statement.parameters)
    assert ":" not in for_rows(statement.sql, 1)


def test_a_script_is_split_at_semicolons_outside_quotes_and_comments() -> None:
    script = """
    -- first; a comment
    CREATE TABLE a (b TEXT DEFAULT ';--x', "c;d" TEXT); /* and; one
    more */ INSERT INTO a VALUES ('it''s; here', 1 - 2 / 3);
    ;
    SELECT 1"""
    assert split_statements(script) == (
        "CREATE TABLE a (b TEXT DEFAULT ';--x', \"c;d\" TEXT)",
        "INSERT INTO a VALUES ('it''s; here', 1 - 2 / 3)",
        "SELECT 1",
    )
    assert split_statements(" -- nothing\n") == ()


def test_a_migration_is_named_by_its_number(tmp_path: Path) -> None:
    (tmp_path / "migrations").mkdir()
    (tmp_path / "migrations" / "initial.sql").write_text("SELECT 1;", encoding="utf-8")
    with pytest.raises(ValueError, match="is not named like 0001_initial"):
        load_library(tmp_path, numbered=True)
