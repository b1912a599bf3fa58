from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from apipod_proxy.usage.spool import REJECTED, SUFFIX, Spool
from tests.usage.build import row

HOLDER = """
import sys
from pathlib import Path
from apipod_proxy.usage.spool import Spool
from tests.usage.build import row
spool = Spool(Path(sys.argv[1]), "other")
spool.open()
spool.append([row("held")])
print("held", flush=True)
sys.stdin.read()
"""


def ids(spool: Spool, most: int = 10) -> list[str]:
    return [entry.request_id for entry in spool.read(most)]


def test_rows_come_out_in_the_order_in_which_they_went_in(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "new", "0")
    assert spool.open() == 0
    spool.append([row("a"), row("b")])
    spool.append([row("c")])
    assert spool.rows == 3
    assert ids(spool, 2) == ["a", "b"]
    assert ids(spool, 2) == ["a", "b"]
    spool.forget()
    assert spool.rows == 1
    spool.append([row("d")])
    assert ids(spool) == ["c", "d"]
    spool.forget()
    assert (spool.rows, spool.read(5), list(tmp_path.glob(f"new/*{SUFFIX}"))) == (0, [], [])


def test_a_file_is_private(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "0")
    spool.append([row()])
    assert next(tmp_path.iterdir()).stat().st_mode & 0o777 == 0o600


def test_what_is_left_at_the_end_is_there_at_the_next_start(tmp_path: Path) -> None:
    first = Spool(tmp_path, "0")
    first.append([row("a")])
    first.close([row("b")])
    second = Spool(tmp_path, "1")
    assert second.open() == 2
    assert second.read(10) == [row("a"), row("b")]


def test_an_empty_spool_leaves_no_file(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "0")
    spool.open()
    spool.close()
    assert list(tmp_path.iterdir()) == []


def test_forgetting_nothing_is_harmless(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "0")
    spool.forget()
    spool.append([])
    assert spool.rows == 0
    assert "rows=0" in repr(spool)


def test_lines_that_are_no_rows_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / f"old-1{SUFFIX}"
    path.write_bytes(
        row("a").as_json() + b"\n[1, 2]\nnot json\n" + row("b").as_json() + b"\n" + row("c").as_json()[:40]
    )
    spool = Spool(tmp_path, "0")
    assert spool.open() == 5
    assert ids(spool) == ["a", "b"]
    spool.forget()
    assert spool.rows == 0


def test_a_line_that_a_crash_has_cut_does_not_spoil_the_next(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "0")
    spool._path.write_bytes(row("cut").as_json()[:50])
    spool.open()
    spool.append([row("whole")])
    assert ids(spool) == ["whole"]


def test_rows_that_no_store_takes_are_kept_apart_and_never_read_again(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "0")
    spool.open()
    spool.reject([row("bad")])
    spool.reject([row("worse")])
    spool.close()
    assert (tmp_path / REJECTED).read_bytes().count(b"req") == 0
    assert (tmp_path / REJECTED).read_bytes().count(b"bad") == 1
    assert Spool(tmp_path, "1").open() == 0


def test_files_of_a_living_process_are_left_alone_and_those_of_a_dead_one_taken_over(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == b"held\n"
        spool = Spool(tmp_path, "0")
        assert spool.open() == 0
        spool.close()
        holder.kill()
        holder.wait()
        assert spool.open() == 1
        assert ids(spool) == ["held"]
    finally:
        holder.kill()
        holder.wait()
        holder.stdin.close()
        holder.stdout.close()


def test_a_full_disk_adds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path, "0")
    spool.append([row("a")])
    with monkeypatch.context() as broken:

        def fails(descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        broken.setattr(os, "fsync", fails)
        with pytest.raises(OSError, match="No space"):
            spool.append([row("b")])
    spool.append([row("c")])
    assert spool.rows == 2
    assert ids(spool) == ["a", "c"]
