"""The command line. Each command is imported when it is called, so that ``--version`` does not wait for a web server."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from apipod_proxy import __version__
from apipod_proxy.errors import ProxyError, StoreError
from apipod_proxy.mistakes import OperatorMistake
from apipod_proxy.settings import SettingsError, process_environment

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[Any]

PROGRAM = "apipod-proxy"

FAILED = 1
MISUSED = 2
INTERRUPTED = 130

MODULES = {
    "serve": "serve",
    "demo": "demo",
    "simulate": "simulate",
    "apply": "catalog",
    "export": "catalog",
    "check": "check",
    "keys": "keys",
    "migrate": "migrate",
    "version": "version",
}

OLD_SPELLINGS = ("config", "addr", "env-file", "workers", "version", "help")
"""Options that earlier gateways took with one dash."""

EXAMPLES = f"""\
examples:
  {PROGRAM} demo                                   try it: a simulator as provider, a key and curl lines to paste
  {PROGRAM} serve --config catalog.yaml            serve what the catalog file says
  {PROGRAM} serve --addr 0.0.0.0:8081 --workers 4  on all addresses, with four processes (limits need REDIS_URL)
  {PROGRAM} check --config catalog.yaml            is the file right, and does every provider take its key?
  {PROGRAM} apply catalog.yaml                     bring the database up to date; a running server follows within a second
  {PROGRAM} keys create alice --subscription pro   make a client key; it is shown once

Settings come from the command line, the environment, and .env (or --env-file); the README lists them all.
Without a command, {PROGRAM} serves."""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line and where to read more."""

    def error(self, message: str) -> NoReturn:
        self.exit(MISUSED, f"{PROGRAM}: {message}; see {self.prog} --help\n")


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Run a command; gives the exit code: 0, 1 for what went wrong, 2 for a wrong command line."""
    arguments = parser().parse_args(normal(list(sys.argv[1:] if argv is None else argv)))
    environ = process_environment() if environ is None else environ
    try:
        # Half of a start: who interrupts it there, reads no traceback either.
        module = import_module(f"apipod_proxy.commands.{MODULES[arguments.command]}")
        code: int = module.run(arguments, environ)
    except (OperatorMistake, SettingsError, ProxyError) as error:
        return fail(error)
    except BrokenPipeError:
        # The reader of our output has enough; its own exit code says how it went. Nothing more may be flushed to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    return code


def fail(error: Exception) -> int:
    """Say what went wrong, a line for each thing that did."""
    for line in lines_of(error):
        print(f"{PROGRAM}: {line}", file=sys.stderr)
    return FAILED


def lines_of(error: Exception) -> list[str]:
    """What the operator reads: of the database's errors the reason, which clients are not told."""
    if isinstance(error, OperatorMistake):
        return error.lines
    text = error.problem if isinstance(error, StoreError) else str(error)
    return [" ".join(text.split())]


def normal(argv: list[str]) -> list[str]:
    """The command line in today's spelling: two dashes, and the word ``serve`` where no command is named."""
    spelled = [_two_dashes(word) for word in argv]
    if not spelled or (spelled[0].startswith("-") and spelled[0] not in ("-h", "--help", "--version")):
        return ["serve", *spelled]
    if spelled[0] == "--version":
        return ["version"]
    return spelled


def _two_dashes(word: str) -> str:
    name, equals, value = word[1:].partition("=")
    return f"--{name}{equals}{value}" if word[:1] == "-" and name in OLD_SPELLINGS else word


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = _Parser(
        prog=PROGRAM,
        description="An LLM gateway: one process between AI clients and every model provider.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = top.add_subparsers(dest="command", metavar="command", required=True, parser_class=_Parser)
    _add_servers(commands)
    _add_catalog(commands)
    _add_keys(commands)
    migrate = _command(
        commands, "migrate", "bring the database's tables up to date (serve does it by itself)"
    )
    _add_env_file(migrate)
    _command(commands, "version", "print the version")
    return top


def _command(commands: Commands, name: str, says: str) -> argparse.ArgumentParser:
    """A command that says the same of itself in its own help as in the list of all."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=says, description=f"{says[0].upper()}{says[1:]}."
    )
    return parser


def _add_servers(commands: Commands) -> None:
    serve = _command(commands, "serve", "serve (the default command)")
    _add_addr(serve)
    serve.add_argument(
        "--config", metavar="FILE", type=Path, help="catalog file that is applied before serving"
    )
    serve.add_argument(
        "--workers",
        metavar="N",
        type=_workers,
        default=1,
        help="processes on one port; several need REDIS_URL (default: 1)",
    )
    _add_env_file(serve)
    demo = _command(
        commands,
        "demo",
        "serve with a simulator as provider, and every provider whose key the environment holds",
    )
    _add_addr(demo)
    _add_env_file(demo)
    simulate = _command(commands, "simulate", "run the simulated provider alone, for load tests")
    _add_addr(simulate, "127.0.0.1:9100")


def _add_catalog(commands: Commands) -> None:
    apply = _command(
        commands,
        "apply",
        "make the database say what a catalog file, or another gateway's configuration, says",
    )
    apply.add_argument(
        "file", metavar="FILE", type=Path, nargs="?", help="a catalog, or the file of another gateway"
    )
    apply.add_argument(
        "--from",
        metavar="URL",
        dest="source",
        help="in place of a file: an older apipod database, which is only read (postgresql://…, or a SQLite file)",
    )
    _add_env_file(apply)
    export = _command(commands, "export", "print the database as a catalog file")
    export.add_argument("--secrets", action="store_true", help="with provider keys in plain text")
    export.add_argument(
        "--output", "-o", metavar="FILE", type=Path, help="write it there, readable by you alone"
    )
    _add_env_file(export)
    check = _command(commands, "check", "check settings, catalog, database, and every provider's key")
    check.add_argument(
        "--config", metavar="FILE", type=Path, help="catalog file; without it, the database is checked"
    )
    _add_env_file(check)


def _add_keys(commands: Commands) -> None:
    keys = _command(commands, "keys", "make, list, revoke and rotate client keys")
    actions = keys.add_subparsers(dest="action", metavar="action", required=True, parser_class=_Parser)
    create = _command(actions, "create", "make a key and show it once")
    create.add_argument("name", metavar="NAME", help="what the key is called, as laptop")
    create.add_argument(
        "--user",
        metavar="USER",
        help="whose it is; must exist (default: a user of the key's name, made if need be)",
    )
    create.add_argument(
        "--subscription", "--tier", metavar="NAME", help="of the user that is made (default: elite)"
    )
    create.add_argument("--expires-in", metavar="TIME", help="as 3600 (seconds), 12h, 30d (default: never)")
    listed = _command(actions, "list", "list keys, without their secret part")
    listed.add_argument("--user", metavar="USER", help="only those of one user")
    revoke = _command(actions, "revoke", "a key stops working within a second")
    revoke.add_argument("key", metavar="KEY", help="its id, name or prefix, or the key itself")
    rotate = _command(actions, "rotate", "a new key in place of an old one")
    rotate.add_argument("key", metavar="KEY", help="its id, name or prefix, or the key itself")
    for action in (create, listed, revoke, rotate):
        _add_env_file(action)


def _add_addr(parser: argparse.ArgumentParser, default: str = "") -> None:
    shown = default or "HOST and PORT, 127.0.0.1:8081"
    parser.add_argument(
        "--addr",
        metavar="HOST:PORT",
        default=default or None,
        help=f"where to listen; :8080 is all addresses (default: {shown})",
    )


def _add_env_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--env-file", metavar="FILE", type=Path, help="settings (default: .env, where there is one)"
    )


def _workers(text: str) -> int:
    if text.isascii() and text.isdigit() and 1 <= int(text) <= 256:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no number of workers; allowed: 1 to 256")
