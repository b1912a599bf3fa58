"""What decides before anything serves; the rest is tested on real processes in ``tests/serve``."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest

from apipod_proxy.catalog.model import EMPTY_SNAPSHOT, ApiKey, Provider
from apipod_proxy.commands.serve import in_child, missing_in, port_error
from apipod_proxy.mistakes import OperatorMistake
from apipod_proxy.settings import Settings
from tests.commands.conftest import Run


def test_a_port_that_is_taken_and_one_that_is_forbidden_are_told_apart() -> None:
    taken = port_error(Settings(port=81), OSError(errno.EADDRINUSE, "Address already in use"))
    assert taken.lines == [
        "127.0.0.1:81 is taken by another program; choose another address with --addr or PORT"
    ]
    denied = port_error(Settings(port=81), OSError(errno.EACCES, "Permission denied"))
    assert denied.lines == ["127.0.0.1:81 cannot be listened on: Permission denied"]


def test_work_in_a_child_gives_its_exit_code(capfd: pytest.CaptureFixture[str]) -> None:
    def refuse() -> None:
        raise OperatorMistake("no", "never")

    def break_down() -> None:
        raise RuntimeError("why")

    assert in_child(lambda: None) == 0
    assert in_child(refuse) == 1
    assert capfd.readouterr().err == "apipod-proxy: no\napipod-proxy: never\n"
    assert in_child(break_down) == 1
    assert "RuntimeError: why" in capfd.readouterr().err

    def interrupt() -> None:
        raise KeyboardInterrupt

    assert in_child(interrupt) == 130
    assert capfd.readouterr().err == ""


def test_workers_share_their_limits_or_do_not_start(run: Run) -> None:
    ran = run("serve", "--workers", "2")
    assert ran.code == 1
    assert "needs REDIS_URL" in ran.err


def test_a_start_that_can_answer_nobody_says_what_is_missing() -> None:
    assert missing_in(EMPTY_SNAPSHOT).startswith("There are no providers yet: ")
    keyless = replace(EMPTY_SNAPSHOT, providers={"p": Provider("p", "p", "openai", "", ())})
    assert missing_in(keyless).startswith("There are no client keys yet: ")
    revoked = ApiKey("", "u", "k", b"1", active=False)
    assert missing_in(replace(keyless, keys={b"1": revoked})).startswith("There are no client keys yet: ")
    assert missing_in(replace(keyless, keys={b"1": replace(revoked, active=True)})) == ""
