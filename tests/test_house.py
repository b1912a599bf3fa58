"""The rules that the code base holds itself to. Each test names every place that breaks its rule."""

from __future__ import annotations

import ast
import gc
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "apipod_proxy"

TOP_LEVEL = {
    "apipod_proxy",
    "sql",
    "scripts",
    "tests",
    "setup.cfg",
    "pyproject.toml",
    "Dockerfile",
    "README.md",
    "LICENSE",
}

STAGES = {
    "edge",
    "auth",
    "route",
    "limit",
    "upstream",
    "dialect",
    "stream",
    "usage",
    "store",
    "catalog",
    "admin",
    "simulator",
}
# Plain data types, in which the stages speak with each other.
SHARED = {"apipod_proxy.errors", "apipod_proxy.catalog.model", "apipod_proxy.auth.Principal"}
# Pure languages that stand beside the stages; they import no stage themselves.
BESIDE = {"dialect"}
# What wires and drives the stages; no stage may reach back into it.
DRIVERS = {"app", "cli", "commands", "gateway", "__main__"}
REACHES_BACK = {
    "edge": {"gateway"},  # the handlers hand each request to the flow
}

PURE = ["dialect", "route", "auth", "catalog", "limit/buckets.py", "usage/prices.py"]
NOT_PURE = {
    "catalog/loader.py": "reads the catalog's file and the database",
}
IMPURE_MODULES = {
    *(
        "asyncio",
        "aiohttp",
        "asyncpg",
        "aiosqlite",
        "aiosql",
        "redis",
        "uvloop",
        "socket",
        "ssl",
        "subprocess",
    ),
    *("threading", "time", "random", "secrets", "uuid"),
}
IMPURE_OWNERS = {"os", "datetime", "date", "datetime.datetime", "datetime.date"}
IMPURE_NAMES = {"environ", "getenv", "urandom", "utcnow", "now", "today"}
READS_ENVIRONMENT = {"settings.py"}

FILE_LINES, CLASS_LINES, FUNCTION_LINES, CONSTRUCTOR_PARAMETERS = 600, 400, 60, 8

# A module or folder whose tests do not stand in the file of its own name, and where they are instead.
TESTED_ELSEWHERE = {
    "attempt.py": "tests/gateway drives whole servers through it",
    "explaining.py": "tests/gateway/test_explaining.py",
    "gateway.py": "tests/gateway has a file for each of its promises",
    "hedging.py": "tests/gateway/test_hedging.py",
    "probes.py": "tests/gateway/test_probes.py",
    "room.py": "tests/gateway, where leases and gauges are looked at after every case",
    "trial.py": "tests/gateway, where rows and leases are looked at after every case",
    "app.py": "tests/gateway and tests/serve run what it builds",
    "exchange.py": "a record of fields, looked at in tests/test_booking.py",
    "serving.py": "tests/gateway, which changes catalogs under running requests",
    "dialect/__init__.py": "the contract of the codecs; tests/dialect/test_table.py holds every row to it",
    "edge/surface.py": "tests/serve, with hostile clients, and tests/gateway",
    "stream/outlet.py": "tests/gateway/test_streams.py and test_cancellation.py",
    "stream/pump.py": "tests/gateway/test_streams.py and test_cancellation.py",
    "upstream/providers/": "tests/upstream/providers has a table of fakes, one for each type",
    "upstream/wire.py": "tests/upstream/providers, which looks at every byte of a request's head",
    "__main__.py": "two lines; test_cli starts the program through it",
    "catalog/model.py": "plain data types, used in every test of the catalog",
    "dialect/vocabulary.py": "plain data types, used in every test of the dialects",
}

MARKER = re.compile(
    r"\b(TO[D]O|FIX[M]E|XX[X]|HAC[K])\b|NotImplemented[E]rror|pytest\.mark\.(ski[p]|xfai[l])\b"
)


def _sources(*folders: str) -> dict[Path, ast.Module]:
    return {path: tree for folder in folders for path, tree in _folder(folder).items()}


@cache
def _folder(name: str) -> dict[Path, ast.Module]:
    # Two thirds of the time to parse would be spent on looking for garbage among a million new objects.
    gc.disable()
    try:
        return {path: ast.parse(path.read_text(), str(path)) for path in sorted((ROOT / name).rglob("*.py"))}
    finally:
        gc.freeze()
        gc.enable()


def _place(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"


def _stage(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imports(path: Path, tree: ast.Module) -> Iterator[tuple[ast.stmt, str]]:
    """Every imported module by its full name; of a `from` import also the names, which may be modules too."""
    package = (*path.relative_to(ROOT).parent.parts, path.stem)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            for alias in node.names:
                yield node, f"{module}.{alias.name}"


def _assert_none(broken: list[str], rule: str) -> None:
    if broken:
        pytest.fail(f"{rule}\n  " + "\n  ".join(sorted(broken)), pytrace=False)


def test_stages_import_only_shared_types_from_each_other() -> None:
    broken = []
    for path, tree in _sources("apipod_proxy").items():
        own = _stage(path)
        if own not in STAGES:
            continue
        for node, name in _imports(path, tree):
            parts = name.split(".")
            if (
                parts[0] != "apipod_proxy"
                or len(parts) == 1
                or any(name == s or name.startswith(f"{s}.") for s in SHARED)
            ):
                continue
            other = parts[1]
            if (other in STAGES - BESIDE and other != own) or (
                other in DRIVERS - REACHES_BACK.get(own, set())
            ):
                broken.append(f"{_place(path, node)} {own} imports {name}")
    _assert_none(broken, "Stages meet in the gateway and in plain data types, never in each other:")


def _is_pure(path: Path) -> bool:
    name = path.relative_to(PACKAGE).as_posix()
    return name not in NOT_PURE and any(name == pure or name.startswith(f"{pure}/") for pure in PURE)


def test_pure_code_touches_no_clock_network_or_environment() -> None:
    broken = []
    for path, tree in _sources("apipod_proxy").items():
        if not _is_pure(path):
            continue
        broken += [
            f"{_place(path, node)} imports {name}"
            for node, name in _imports(path, tree)
            if name.split(".")[0] in IMPURE_MODULES
        ]
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr in IMPURE_NAMES:
                owner = ast.unparse(node.value)
                if owner in IMPURE_OWNERS:
                    broken.append(f"{_place(path, node)} uses {owner}.{node.attr}")
    _assert_none(broken, "Clocks, randomness and id makers are arguments of pure code:")


def test_only_the_settings_read_the_environment() -> None:
    broken = []
    for path, tree in _sources("apipod_proxy").items():
        if path.relative_to(PACKAGE).as_posix() in READS_ENVIRONMENT:
            continue
        broken += [
            f"{_place(path, node)} imports {name}"
            for node, name in _imports(path, tree)
            if name in {"os.environ", "os.getenv"}
        ]
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Attribute)
                and node.attr in {"environ", "getenv"}
                and ast.unparse(node.value) == "os"
            ):
                broken.append(f"{_place(path, node)} uses {ast.unparse(node)}")
    _assert_none(broken, "The environment is read in settings.py and nowhere else:")


def _is_fresh_container(value: ast.expr | None) -> bool:
    """An empty container at the top of a module waits to be filled; a full one is a table."""
    if isinstance(value, ast.Dict):
        return not value.keys
    if isinstance(value, ast.List | ast.Set):
        return not value.elts
    if isinstance(value, ast.Call):
        name = ast.unparse(value.func).split(".")[-1]
        return name in {
            "defaultdict",
            "deque",
            "OrderedDict",
            "WeakSet",
            "WeakKeyDictionary",
            "WeakValueDictionary",
            "count",
        } or (name in {"dict", "list", "set", "Counter"} and not value.args and not value.keywords)
    return False


def test_modules_hold_no_state() -> None:
    broken = []
    for path, tree in _sources("apipod_proxy").items():
        broken += [
            f"{_place(path, node)} global {', '.join(node.names)}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Global)
        ]
        for node in tree.body:
            # What is declared as a Mapping or Final can be empty for ever.
            declared = ast.unparse(node.annotation) if isinstance(node, ast.AnnAssign) else ""
            if declared.startswith(("Mapping[", "Final")):
                continue
            if isinstance(node, ast.Assign | ast.AnnAssign) and _is_fresh_container(node.value):
                broken.append(f"{_place(path, node)} {ast.unparse(node)}")
    _assert_none(broken, "State belongs to objects that the composition root makes and closes:")


def test_files_classes_functions_and_constructors_keep_within_their_bars() -> None:
    broken = []
    for path, tree in _sources("apipod_proxy", "tests", "scripts").items():
        lines = len(path.read_text().splitlines())
        if lines > FILE_LINES:
            broken.append(f"{_place(path, tree)} has {lines} lines, the bar is {FILE_LINES}")
        for node in ast.walk(tree):
            if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            bar = CLASS_LINES if isinstance(node, ast.ClassDef) else FUNCTION_LINES
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > bar:
                broken.append(f"{_place(path, node)} {node.name} has {lines} lines, the bar is {bar}")
            if isinstance(node, ast.FunctionDef) and node.name == "__init__":
                names = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)][1:]
                if len(names) > CONSTRUCTOR_PARAMETERS:
                    broken.append(
                        f"{_place(path, node)} takes {len(names)} parameters, the bar is {CONSTRUCTOR_PARAMETERS}"
                    )
    _assert_none(broken, "Too long to be read at one go:")


def test_imports_inside_functions_say_why() -> None:
    broken = []
    for path, tree in _sources("apipod_proxy").items():
        text = path.read_text().splitlines()
        for function in ast.walk(tree):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for node in ast.walk(function):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    around = text[node.lineno - 2 : node.end_lineno]
                    if not any("#" in line for line in around):
                        broken.append(f"{_place(path, node)} {ast.unparse(node)}")
    _assert_none(broken, "An import inside a function needs a comment that gives its reason:")


def test_every_module_postpones_its_annotations() -> None:
    broken = []
    for path, tree in _sources("apipod_proxy", "tests", "scripts").items():
        holds_code = any(
            isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.AnnAssign)
            for n in ast.walk(tree)
        )
        if holds_code and not any(
            isinstance(n, ast.ImportFrom) and n.module == "__future__" for n in tree.body
        ):
            broken.append(_place(path, tree))
    _assert_none(broken, "from __future__ import annotations is missing:")


def _is_tested_elsewhere(name: str) -> bool:
    return any(
        name == exception or (exception.endswith("/") and name.startswith(exception))
        for exception in TESTED_ELSEWHERE
    )


def test_every_module_has_its_test_file() -> None:
    broken = [
        f"{name}: this exception is for a module that is gone"
        for name in TESTED_ELSEWHERE
        if not (PACKAGE / name).exists()
    ]
    for path, tree in _sources("apipod_proxy").items():
        name = path.relative_to(PACKAGE)
        if path.name == "__init__.py":
            if not any(isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef) for n in ast.walk(tree)):
                continue
            test = name.with_name("test_init.py")
        else:
            test = name.with_name(f"test_{path.name}")
        if not _is_tested_elsewhere(name.as_posix()) and not (ROOT / "tests" / test).exists():
            broken.append(f"apipod_proxy/{name} wants tests/{test}")
    _assert_none(broken, "A module's tests stand in the file of its name:")


def test_the_top_level_holds_only_what_belongs_there() -> None:
    ignored = {line.rstrip("/") for line in (ROOT / ".gitignore").read_text().split()}
    names = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")} - ignored
    broken = [name for name in names - TOP_LEVEL if not name.endswith(".egg-info")]
    _assert_none(broken, "These names do not belong at the top level:")


def test_nothing_is_left_to_do() -> None:
    broken = []
    suffixes = {
        ".py",
        ".sql",
        ".sh",
        ".md",
        ".toml",
        ".cfg",
        ".yaml",
        ".yml",
        ".conf",
        ".service",
        ".ts",
        ".go",
        ".mjs",
        "",
    }
    folders = (ROOT / name for name in sorted(TOP_LEVEL))
    files = (file for top in folders for file in ([top] if top.is_file() else sorted(top.rglob("*"))))
    for path in files:
        if not path.is_file() or path.suffix not in suffixes or "node_modules" in path.parts:
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if MARKER.search(line):
                broken.append(f"{path.relative_to(ROOT)}:{number} {line.strip()[:100]}")
    _assert_none(broken, "Work is finished or it is not in the code:")
