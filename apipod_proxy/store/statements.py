"""The named statements and the migrations, read from the files of ``sql/``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import aiosql

_PARAMETER = re.compile(r"'(?:''|[^'])*'|\"(?:\"\"|[^\"])+\"|(?<!:):([A-Za-z_]\w*)")
_TOKEN = re.compile(r"'(?:''|[^'])*'|\"(?:\"\"|[^\"])+\"|--[^\n]*|/\*.*?\*/|;|[^'\"/;-]+|.", re.DOTALL)
_VALUES = re.compile(r"VALUES\s*\(\s*:\w+(?:\s*,\s*:\w+)*\s*\)")
_MIGRATION = re.compile(r"([0-9]{4})_([a-z0-9_]+)\.sql")


class Statement(NamedTuple):
    """``sql`` as its driver takes it; ``parameters`` in the order of their numbers, where the driver counts them."""

    sql: str
    parameters: tuple[str, ...]


class Migration(NamedTuple):
    number: int
    name: str
    statements: tuple[str, ...]


class Library(NamedTuple):
    statements: Mapping[str, Statement]
    migrations: tuple[Migration, ...]
    tables: frozenset[str]
    """Every table that a migration makes."""


class _Collector:
    """What aiosql takes for a driver: it is shown each statement once, and keeps it in the form that the real driver wants."""

    is_aio_driver = True

    def __init__(self, numbered: bool) -> None:
        self._numbered = numbered
        self.statements: dict[str, Statement] = {}

    def process_sql(self, query_name: str, _op_type: Any, sql: str) -> str:
        order: list[str] = []

        def number(match: re.Match[str]) -> str:
            name = match[1]
            if name is None:
                return match[0]
            if name not in order:
                order.append(name)
            return f"${order.index(name) + 1}" if self._numbered else match[0]

        text = _PARAMETER.sub(number, sql.rstrip().rstrip(";"))
        self.statements[query_name] = Statement(text, tuple(order))
        return sql


def sql_folder() -> Path:
    """``sql/`` inside the installed package; in a checkout it stands beside it."""
    package = Path(__file__).parent.parent
    installed = package / "sql"
    return installed if installed.is_dir() else package.parent / "sql"


def load_library(folder: Path, *, numbered: bool) -> Library:
    """Reads all of ``folder``. ``numbered``: parameters become ``$1``, ``$2`` … in place of ``:name``. Blocks."""
    collector = _Collector(numbered)
    driver: Any = collector  # it runs nothing, so it has no more of a driver than aiosql uses to load
    for path in sorted(folder.glob("*.sql")):
        aiosql.from_str(path.read_text(encoding="utf-8"), lambda: driver, mandatory_parameters=True)
    migrations = tuple(_migration(path) for path in sorted((folder / "migrations").glob("*.sql")))
    made = (
        re.match(r"CREATE TABLE (\w+)", statement)
        for migration in migrations
        for statement in migration.statements
    )
    return Library(collector.statements, migrations, frozenset(match[1] for match in made if match))


@lru_cache(maxsize=64)  # pure; the text is long and asked for with each batch
def for_rows(sql: str, count: int) -> str:
    """The INSERT ``sql`` of one row, whose VALUES are named parameters, as one of ``count`` rows with parameters by place: ``?``."""
    values = _VALUES.search(sql)
    if values is None:
        raise ValueError(f"no INSERT of named parameters alone: {sql}")
    row = f"({', '.join('?' * values[0].count(':'))})"
    return f"{sql[: values.start()]}VALUES {', '.join([row] * count)}{sql[values.end() :]}"


def _migration(path: Path) -> Migration:
    match = _MIGRATION.fullmatch(path.name)
    if not match:
        raise ValueError(f"{path} is not named like 0001_initial.sql")
    return Migration(int(match[1]), match[2], split_statements(path.read_text(encoding="utf-8")))


def split_statements(script: str) -> tuple[str, ...]:
    """The statements of a script, without comments; a semicolon inside quotes or comments ends nothing."""
    statements: list[str] = []
    current: list[str] = []
    for match in _TOKEN.finditer(script):
        piece = match[0]
        if piece.startswith(("--", "/*")):
            continue
        if piece == ";":
            statements.append("".join(current).strip())
            current = []
        else:
            current.append(piece)
    statements.append("".join(current).strip())
    return tuple(statement for statement in statements if statement)
