"""The clients of ``scripts/examples``, run against a real process where their runtime is there."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from shutil import which

import pytest

from tests.serve.conftest import KEY, Launch

EXAMPLES = Path(__file__).parents[2] / "scripts" / "examples"

RUNS = {
    "chat.sh": ["bash"],
    "chat.py": [sys.executable],
    "chat.mjs": ["node"],
    "chat.go": ["go", "run"],
}
THERE = {name: command for name, command in RUNS.items() if which(command[0])}


def test_every_example_is_run_here() -> None:
    assert {path.name for path in EXAMPLES.iterdir() if path.is_file()} == set(RUNS)


@pytest.mark.parametrize("name", THERE)
async def test_an_example_streams_an_answer(launch: Launch, name: str) -> None:
    gateway = await launch()
    process = await asyncio.create_subprocess_exec(
        *THERE[name],
        str(EXAMPLES / name),
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(gateway.folder),
            "BASE": gateway.base,
            "KEY": KEY,
            "MODEL": "sim-4-5",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(30):
        out, error = await process.communicate()
    assert process.returncode == 0, error.decode()
    assert out.count(b" token") >= 4
    await gateway.line("request")
    answered = [line for line in gateway.log if line["message"] == "request"]
    assert {line["outcome"] for line in answered} == {"ok"}
