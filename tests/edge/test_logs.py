from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator

import orjson
import pytest

from apipod_proxy.edge import logs
from apipod_proxy.edge.logs import JsonFormatter, LineWriter, TextFormatter, one_line, set_up


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


@pytest.fixture
def root_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("apipod_proxy").setLevel(logging.NOTSET)
    logging.captureWarnings(False)


def record(message: str, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("apipod_proxy.edge", logging.INFO, __file__, 1, message, (), None)
    made.__dict__.update(extra)
    return made


def test_a_json_line_holds_what_was_given_and_nothing_of_the_machinery() -> None:
    line = orjson.loads(JsonFormatter().format(record("done", status=200, path="/x", ids=[1, 2])))
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "info",
        "logger": "apipod_proxy.edge",
        "message": "done",
        "status": 200,
        "path": "/x",
        "ids": [1, 2],
    }


def test_a_text_line_is_one_line_whatever_a_client_sent() -> None:
    text = TextFormatter().format(record("done", path="/x\r\n2026 INFO forged\x1b[2J"))
    assert "\n" not in text
    assert "\x1b" not in text
    assert text.endswith("path=/x\\r\\n2026 INFO forged\\x1b[2J")


def test_an_exception_is_told_whole() -> None:
    try:
        raise RuntimeError("why")
    except RuntimeError as error:
        made = record("broken")
        made.exc_info = (type(error), error, error.__traceback__)
    assert "RuntimeError: why" in orjson.loads(JsonFormatter().format(made))["exception"]
    assert "RuntimeError: why" in TextFormatter().format(made)


def test_plain_text_is_left_alone() -> None:
    assert one_line("straße 漢字") == "straße 漢字"


def test_lines_come_out_in_order_and_all_of_them_at_the_close(pipe: tuple[int, int]) -> None:
    read_end, write_end = pipe
    writer = LineWriter(write_end)
    for number in range(500):
        writer.write(b"%d\n" % number)
    writer.close()
    assert os.read(read_end, 65536) == b"".join(b"%d\n" % number for number in range(500))


def test_a_reader_that_has_stopped_holds_up_nobody(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "MOST_WAITING", 500)
    read_end, write_end = pipe
    writer = LineWriter(write_end)
    line = b"x" * 999 + b"\n"
    begun = time.monotonic()
    for _ in range(5_000):
        writer.write(line)
    assert time.monotonic() - begun < 2
    assert writer.dropped > 2_000
    drained = threading.Thread(target=lambda: [os.read(read_end, 65536) for _ in range(20)], daemon=True)
    drained.start()
    writer.close(timeout=0.1)
    while drained.is_alive():
        os.write(write_end, b"x")
    drained.join()
    writer.close()


def test_a_closed_reader_ends_in_silence() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    writer = LineWriter(write_end)
    writer.write(b"nobody\n")
    writer.close()
    os.close(write_end)


@pytest.mark.usefixtures("root_as_it_was")
def test_libraries_are_heard_from_warning_up_and_the_gateway_from_its_level(pipe: tuple[int, int]) -> None:
    read_end, write_end = pipe
    writer = LineWriter(write_end)
    set_up("INFO", "json", writer)
    logging.getLogger("aiohttp").info("chatter")
    logging.getLogger("aiohttp").warning("library")
    logging.getLogger("asyncpg.pool").warning("again and again")
    logging.getLogger("apipod_proxy.x").info("ours", extra={"status": 1})
    logging.getLogger("apipod_proxy.x").debug("detail")
    writer.close()
    lines = [orjson.loads(line) for line in os.read(read_end, 65536).splitlines()]
    assert [line["message"] for line in lines] == ["library", "ours"]
    assert lines[1]["status"] == 1
