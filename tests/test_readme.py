"""What the README says is true: its examples run as printed, and its table of settings is the program's."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from apipod_proxy.admin import AdminApi
from apipod_proxy.catalog import document
from apipod_proxy.catalog.model import (
    CAPABILITIES,
    LIMIT_KINDS,
    Breaker,
    PoolSize,
    Retries,
    Strategy,
    Timeouts,
)
from apipod_proxy.settings import SETTINGS
from apipod_proxy.upstream.providers import PROVIDER_TYPES
from tests.serve.conftest import COMMAND, Launch, clean_environment, launch, simulator

__all__ = ["launch", "simulator"]

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
BASE = "http://127.0.0.1:8081"


def example(name: str) -> str:
    """The code block behind the mark of that name."""
    found = re.search(rf"<!-- example: {name} -->\n```\w+\n(.*?)```", README, re.DOTALL)
    assert found is not None, f"the README has no example named {name}"
    return found[1]


@pytest.fixture
async def demo(tmp_path: Path) -> AsyncIterator[str]:
    """The URL of a running demo whose data folder is ``tmp_path``/data."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        "demo",
        "--addr",
        "127.0.0.1:0",
        cwd=tmp_path,
        env=clean_environment(tmp_path),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(20):
            while not (found := re.search(rb"serves on (\S+);", await process.stdout.readline())):
                assert process.returncode is None
        yield found[1].decode()
    finally:
        process.terminate()
        # What it still prints is taken, so that it does not wait for a reader.
        await process.communicate()


async def run(*command: str, folder: Path) -> str:
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(30):
        output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


async def test_the_curl_lines_stream_answers(demo: str, tmp_path: Path) -> None:
    assert shutil.which("curl"), "curl is needed"
    output = await run("bash", "-euc", example("curl").replace(BASE, demo), folder=tmp_path)
    assert "data: [DONE]" in output
    assert "event: message_stop" in output
    assert '"finishReason"' in output


@pytest.mark.parametrize("sdk", ["openai", "anthropic"])
async def test_the_sdk_examples_stream_an_answer(demo: str, tmp_path: Path, sdk: str) -> None:
    output = await run(sys.executable, "-c", example(sdk).replace(BASE, demo), folder=tmp_path)
    assert len(output.strip()) > 20


async def test_the_catalog_example_is_a_valid_file(tmp_path: Path) -> None:
    (tmp_path / "catalog.yaml").write_text(example("catalog"), encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        "apply",
        "catalog.yaml",
        cwd=tmp_path,
        env=clean_environment(tmp_path),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()


def test_the_table_of_settings_is_the_programs() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| (.+?) \| (.+) \|$", README, re.MULTILINE)
    told = {
        name: (default.strip("`").replace("—", ""), meaning.replace("\\|", "|"))
        for name, default, meaning in rows
    }
    assert told == {setting.name: (setting.default, setting.description) for setting in SETTINGS}


async def test_the_admin_example_makes_a_key_and_reads_the_usage(launch: Launch, tmp_path: Path) -> None:
    gateway = await launch(environ={"ADMIN_SECRET": "s3cret"})
    script = "ADMIN_SECRET=s3cret\n" + example("admin").replace(BASE, gateway.base)
    output = await run("bash", "-euc", script, folder=tmp_path)
    assert '"api_key":"apk_' in output
    assert '"tier":"pro"' in output
    assert '"totals":[' in output


def test_every_file_that_is_named_is_there() -> None:
    root = Path(__file__).parent.parent
    named = set(re.findall(r"`?\b((?:scripts|apipod_proxy|sql|tests)/[\w./-]*\w)", README))
    assert len(named) > 10
    assert [name for name in named if not (root / name).exists()] == []


def test_every_request_to_the_admin_api_is_told() -> None:
    routes = AdminApi.routes(AdminApi.__new__(AdminApi))
    paths = {route.path for route in routes}
    told = README.replace("…/disable", "`, `/admin/accounts/{provider}/{account}/disable")
    assert [path for path in paths if not re.search(rf"[ `]{re.escape(path)}[`)]", told)] == []


def test_the_fields_of_the_catalog_are_the_programs() -> None:
    rows = dict(
        re.findall(
            r"^\| (provider|account|model|subscription|route|target|user|key) \| (.+) \|$",
            README,
            re.MULTILINE,
        )
    )
    assert len(rows) == 8
    for entry, cell in rows.items():
        outside = re.sub(r"\(.*?\)", "", cell)
        assert set(re.findall(r"`(\w+)`", outside)) == set(getattr(document, entry.upper())), entry
    inside = {
        name: re.search(rf"`{name}` \((.*?)\)", rows["provider"])
        for name in ("timeouts", "retries", "breaker", "pool")
    }
    for name, kind in (
        ("timeouts", Timeouts),
        ("retries", Retries),
        ("breaker", Breaker),
        ("pool", PoolSize),
    ):
        found = inside[name]
        assert found is not None
        assert tuple(re.findall(r"`(\w+)`", found[1])) == kind._fields
    assert f"`{', '.join(CAPABILITIES)}`" in README
    assert " | ".join(strategy.value for strategy in Strategy) in README
    assert all(kind in README for kind in LIMIT_KINDS)


def test_the_provider_types_are_the_programs() -> None:
    told = dict(re.findall(r"\| `([a-z_]+)` \| (?:`([A-Z_]+)`|—) (?=\|)", README))
    types = {name: kind.key_variable for name, kind in PROVIDER_TYPES.items()}
    assert {name: told.get(name) for name in types} == types
