"""Folders of parents: who shares the one around them, and who left one behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from apipod_proxy.edge.run_folder import RunFolder

DIES = """
import os, sys
from pathlib import Path
from apipod_proxy.edge.run_folder import RunFolder
print(RunFolder(Path(sys.argv[1])).path, flush=True)
os._exit(1)
"""


def folders(parent: Path) -> set[Path]:
    return {entry for entry in parent.iterdir() if entry.is_dir()}


def test_each_has_a_folder_of_its_own_though_their_process_ids_are_the_same(tmp_path: Path) -> None:
    first = RunFolder(tmp_path / "data" / "run")
    second = RunFolder(tmp_path / "data" / "run")
    assert folders(tmp_path / "data" / "run") == {first.path, second.path}
    second.remove()
    assert folders(tmp_path / "data" / "run") == {first.path}
    assert first.path.stat().st_mode & 0o777 == 0o700
    assert repr(first) == f"<RunFolder {first.path}>"
    first.remove()


def test_folders_of_the_dead_are_removed_by_the_next(tmp_path: Path) -> None:
    said = subprocess.run([sys.executable, "-c", DIES, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    left = Path(said.stdout.strip())
    assert left.is_dir()
    (tmp_path / "12").mkdir()  # without a lock at all
    folder = RunFolder(tmp_path)
    assert folders(tmp_path) == {folder.path}
    folder.remove()


def test_a_folder_is_held_for_as_long_as_a_child_lives(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    stays, ends = os.pipe()
    child = os.fork()
    if not child:
        os.close(ends)
        os.read(stays, 1)
        os._exit(0)
    os.close(folder._lock)  # as the death of the parent would
    RunFolder(tmp_path).remove()
    assert folder.path.is_dir()
    os.close(ends)
    os.close(stays)
    os.waitpid(child, 0)
    RunFolder(tmp_path).remove()
    assert not folder.path.exists()


def test_a_place_that_is_no_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="Not a directory"):
        RunFolder(tmp_path / "file" / "run")
