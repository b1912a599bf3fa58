from __future__ import annotations

import re

from apipod_proxy.catalog.model import ApiKey
from apipod_proxy.commands.keys import state_of
from tests.commands.conftest import Run


def test_a_key_is_shown_once_alone_on_stdout(run: Run) -> None:
    made = run("keys", "create", "laptop", "--subscription", "pro", "--expires-in", "30d")
    assert made.code == 0
    key = made.out.strip()
    assert re.fullmatch(r"apk_[A-Za-z0-9_-]{43}", key)
    assert "A key for laptop in pro, until 20" in made.err
    listed = run("keys", "list")
    assert key not in listed.out
    assert key[:12] in listed.out
    assert listed.out.splitlines()[0].split() == [
        "ID",
        "PREFIX",
        "NAME",
        "USER",
        "STATE",
        "CREATED",
        "EXPIRES",
    ]


def test_a_key_is_rotated_and_revoked_by_what_names_it(run: Run) -> None:
    old = run("keys", "create", "laptop").out.strip()
    new = run("keys", "rotate", "laptop").out.strip()
    assert old != new
    assert [line.split()[4] for line in run("keys", "list").out.splitlines()[1:]] == ["revoked", "active"]
    revoked = run("keys", "revoke", new)
    assert revoked.out == f"The key 'laptop' ({new[:12]}) of laptop is revoked.\n"
    assert "active" not in run("keys", "list").out.replace("inactive", "")


def test_keys_of_one_user(run: Run) -> None:
    run("keys", "create", "a")
    run("keys", "create", "b")
    assert len(run("keys", "list", "--user", "a").out.splitlines()) == 2
    assert run("keys", "create", "second", "--user", "a").code == 0
    assert len(run("keys", "list", "--user", "a").out.splitlines()) == 3


def test_what_cannot_be_is_one_line_that_names_the_way_out(run: Run) -> None:
    for argv, way_out in (
        (("revoke", "nobody"), "There is no key 'nobody'. `apipod-proxy keys list` shows"),
        (("rotate", "nobody"), "There is no key 'nobody'. `apipod-proxy keys list` shows"),
        (("create", "x", "--user", "nobody"), "There is no user 'nobody'. Users come from the catalog file"),
        (("create", "x", "--expires-in", "soon"), "--expires-in: found 'soon'; allowed: whole seconds"),
        (("create", ""), "NAME: allowed: 1 to 200 printable characters"),
        (("create", "x", "--subscription", ""), "--subscription: allowed: 1 to 200 printable characters"),
        (("create", "x", "--user", "a", "--subscription", "b"), "only one of --user and --subscription"),
    ):
        ran = run("keys", *argv)
        assert ran.code == 1, argv
        assert len(ran.err.splitlines()) == 1
        assert ran.err.startswith(f"apipod-proxy: {way_out}")


def test_a_subscription_that_a_key_makes_is_said_to_be_new(run: Run) -> None:
    warning = "The subscription 'por' is new: every model by its own name, and no limits.\n"
    assert run("keys", "create", "laptop", "--subscription", "por").err.endswith(warning)
    assert "is new" not in run("keys", "create", "phone", "--subscription", "por").err


def test_the_state_of_a_key() -> None:
    key = ApiKey("", "", "", b"", expires_at=100)
    assert state_of(key, 99) == "active"
    assert state_of(key, 100) == "expired"
    assert state_of(ApiKey("", "", "", b"", active=False, revoked_at=1), 0) == "revoked"
    assert state_of(ApiKey("", "", "", b"", active=False), 0) == "inactive"
