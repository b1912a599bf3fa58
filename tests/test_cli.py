from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from apipod_proxy import __version__
from apipod_proxy.cli import MODULES, lines_of, main, normal, parser
from apipod_proxy.errors import NotFound, StoreError
from apipod_proxy.mistakes import OperatorMistake


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ([], ["serve"]),
        (["--config", "c.yaml"], ["serve", "--config", "c.yaml"]),
        (["-config", "c.yaml", "-addr", ":8080", "-env-file", ".env"], ["serve", "--config", "c.yaml", "--addr", ":8080", "--env-file", ".env"]),
        (["-addr=:8080"], ["serve", "--addr=:8080"]),
        (["--version"], ["version"]),
        (["-version"], ["version"]),
        (["-h"], ["-h"]),
        (["-help"], ["--help"]),
        (["serve", "-addr", ":1"], ["serve", "--addr", ":1"]),
        (["export", "-o", "x"], ["export", "-o", "x"]),
        (["keys", "revoke", "-"], ["keys", "revoke", "-"]),
    ],
)  # fmt: skip
def test_older_spellings_mean_the_same(given: list[str], meant: list[str]) -> None:
    assert normal(given) == meant


def test_options_of_serve() -> None:
    arguments = parser().parse_args(normal(["-config", "c.yaml", "--workers", "4", "-addr", ":8080"]))
    assert (arguments.command, arguments.config, arguments.workers, arguments.addr) == (
        "serve",
        Path("c.yaml"),
        4,
        ":8080",
    )


@pytest.mark.parametrize("workers", ["0", "-1", "257", "x", "²"])
def test_workers_are_a_number_from_1_to_256(workers: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parser().parse_args(["serve", f"--workers={workers}"])
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert "allowed: 1 to 256; see apipod-proxy serve --help" in said
    assert said.count("\n") == 1


def test_a_wrong_command_is_one_line_and_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["serv"])
    assert end.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"apipod-proxy {__version__}\n"


def test_help_teaches_with_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    for example in ("apipod-proxy demo", "apipod-proxy serve --config catalog.yaml", "keys create alice"):
        assert example in text


@pytest.mark.parametrize("command", [*MODULES, "keys create", "keys list", "keys revoke", "keys rotate"])
def test_each_command_says_what_it_does(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([*command.split(), "--help"])
    _, says, *_ = capsys.readouterr().out.split("\n\n")
    assert says.endswith(".")
    assert says[0].isupper()


@pytest.mark.parametrize("argv", [["serve"], ["migrate"], ["export"], ["keys", "list"]])
def test_a_bad_setting_is_one_line_without_a_traceback(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv, {"PORT": "http"}) == 1
    said = capsys.readouterr().err
    assert said.startswith("apipod-proxy: PORT is 'http' (environment); allowed: ")
    assert said.count("\n") == 1


def test_what_the_operator_reads_is_one_line_with_the_reason() -> None:
    problem = "db.sqlite holds\ntables of another program"
    assert lines_of(StoreError(problem)) == ["db.sqlite holds tables of another program"]
    assert lines_of(OperatorMistake("line 3: a mistake", "line 7: another")) == [
        "line 3: a mistake",
        "line 7: another",
    ]
    assert lines_of(NotFound("/x")) == ["There is nothing at this path."]


def test_a_reader_that_has_enough_is_no_traceback(tmp_path: Path) -> None:
    code = "import sys; from apipod_proxy.cli import main; sys.exit(main(['version']))"
    ended = subprocess.run(
        f'{sys.executable} -c "{code}" | true; echo ${{PIPESTATUS[0]}}',
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    assert "Traceback" not in ended.stderr


INTERRUPTED_IMPORT = """
import sys
from apipod_proxy.cli import main

class Hand:
    def find_spec(self, name, path, target=None):
        if name == "apipod_proxy.commands.version":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Hand())
sys.exit(main(["version"], {}))
"""


def test_an_interrupt_while_a_command_is_imported_is_no_traceback() -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED_IMPORT], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "")


def test_the_command_line_imports_no_server() -> None:
    code = "import sys, apipod_proxy.cli; print([m for m in ('aiohttp', 'asyncpg', 'uvloop', 'yaml', 'cryptography') if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "[]\n"
    )
