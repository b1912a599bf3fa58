from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from apipod_proxy.dialect.vocabulary import Usage
from apipod_proxy.usage.access_log import BATCH, FLUSH_SECONDS, AccessLog, LogLine, json_line, text_line
from apipod_proxy.usage.record import Attempt, attempts_json
from tests.usage.build import ATTEMPTS, row

LINE = LogLine(
    row=row()._replace(
        started_at=1_700_000_000_123,
        client_request_id="mine-7",
    ),
    method="POST",
    client="10.0.0.7",
    key_prefix="apk_12345678",
    strategy="weighted",
    candidates=4,
    attempts=ATTEMPTS,
    usage=Usage(10, 0, None, 20, 3),
)


def altered(line: LogLine, **columns: Any) -> LogLine:
    return line._replace(row=line.row._replace(**columns))


BARE = altered(
    LINE._replace(key_prefix="", strategy="", candidates=0, attempts=(), usage=None),
    client_request_id="",
    status=401,
    outcome="refused",
    requested_model="",
    routed_model="",
    provider="",
    account="",
    ttft_ms=None,
    streamed=0,
)


class Stream:
    """What was written, and the timers that were asked for."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.timers: list[tuple[float, Callable[[], None]]] = []

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        self.timers.append((seconds, call))

    def fire(self) -> None:
        self.timers.pop(0)[1]()


def test_the_json_line_holds_what_is_known_of_the_request() -> None:
    assert orjson.loads(json_line(LINE)) == {
        "time": "2023-11-14T22:13:20.123+00:00",
        "level": "info",
        "logger": "access",
        "message": "request",
        "request_id": "req_1",
        "client_request_id": "mine-7",
        "method": "POST",
        "path": "/v1/chat/completions",
        "status": 200,
        "outcome": "ok",
        "duration_ms": 950,
        "streamed": True,
        "client": "10.0.0.7",
        "key_prefix": "apk_12345678",
        "requested_model": "cursor-pro-sonnet",
        "model": "flash",
        "provider": "pool",
        "account": "b",
        "strategy": "weighted",
        "candidates": 4,
        "attempts": [
            {"model": "sonnet", "account": "a", "outcome": "status 529", "duration_ms": 120, "status": 529},
            {"model": "flash", "account": "b", "outcome": "ok", "duration_ms": 800, "status": 200},
        ],
        "ttft_ms": 310,
        "tokens": {"input": 10, "cache_read": 0, "cache_write": None, "output": 20, "reasoning": 3},
        "estimated": False,
    }


def test_what_is_not_known_is_null() -> None:
    told = orjson.loads(json_line(BARE))
    assert list(told) == list(orjson.loads(json_line(LINE)))
    assert {name for name, value in told.items() if value is None} == {
        *("client_request_id", "key_prefix", "requested_model", "model", "provider", "account", "strategy"),
        *("ttft_ms", "tokens"),
    }


@pytest.mark.parametrize("usage", [Usage(10, 0, 2, 20, 3), Usage(10, None, None, 20)])
def test_the_only_attempt_and_its_tokens_are_told_as_those_of_several_are(usage: Usage) -> None:
    odd = Attempt('m","usage":{', 'a\\"', "ok", 200, usage, 800)
    one = altered(LINE, attempts=attempts_json((odd,)))._replace(attempts=(odd,), usage=usage)
    two = altered(LINE, attempts=attempts_json((odd, odd)))._replace(attempts=(odd, odd), usage=usage)
    told, more = orjson.loads(json_line(one)), orjson.loads(json_line(two))
    assert told["attempts"] == more["attempts"][:1]
    assert told["attempts"][0] == {
        "model": odd.model,
        "account": odd.account,
        "outcome": "ok",
        "status": 200,
        "duration_ms": 800,
    }
    assert told["tokens"] == more["tokens"]
    assert told["tokens"]["cache_write"] == usage.cache_write


def test_an_estimate_is_called_one() -> None:
    assert orjson.loads(json_line(altered(LINE, estimated=1)))["estimated"] is True
    assert b"output=~20" in text_line(altered(LINE, estimated=1))


@pytest.mark.parametrize("form", [json_line, text_line])
def test_the_query_is_not_logged_because_it_may_hold_a_key(form: Callable[[LogLine], bytes]) -> None:
    written = form(altered(LINE, path="/v1beta/models/m:generateContent?key=apk_secret"))
    assert b"apk_secret" not in written
    assert b"/v1beta/models/m:generateContent" in written


@pytest.mark.parametrize("form", [json_line, text_line])
@pytest.mark.parametrize("odd", ["a\nb", "\x1b[2J", "\udcff", "ключ", "\r\n\r\n", "\u2028"])
def test_a_client_cannot_forge_a_line(form: Callable[[LogLine], bytes], odd: str) -> None:
    odd_row = altered(LINE, client_request_id=odd, requested_model=odd, path=f"/{odd}", routed_model=odd)
    written = form(odd_row._replace(method=odd, client=odd, attempts=(ATTEMPTS[0]._replace(model=odd),)))
    assert written.count(b"\n") == 1
    assert written.endswith(b"\n")
    assert b"\x1b" not in written
    assert b"\r" not in written
    written.decode()


def test_the_text_line_is_for_people() -> None:
    written = text_line(LINE).decode()
    assert written.split(" ", 1)[1] == (
        "INFO access: POST /v1/chat/completions 200 950 ms cursor-pro-sonnet → flash @ pool/b weighted of 4 "
        "tried sonnet@a: status 529, flash@b: ok ttft=310 ms input=10 output=20 reasoning=3 key=apk_12345678 "
        "id=req_1 client_id=mine-7\n"
    )
    assert text_line(BARE).decode().split(" ", 1)[1] == (
        "INFO access: POST /v1/chat/completions 401 950 ms refused id=req_1\n"
    )
    unrouted = altered(LINE, routed_model="", ttft_ms=None)._replace(attempts=(), usage=None)
    assert "ms cursor-pro-sonnet weighted" in text_line(unrouted).decode()


def test_lines_leave_together_after_a_short_time() -> None:
    stream = Stream()
    log = AccessLog(stream.writes.append, stream.later)
    log.record(LINE)
    log.record(BARE)
    assert stream.writes == []
    assert [seconds for seconds, _ in stream.timers] == [FLUSH_SECONDS]
    stream.fire()
    assert stream.writes == [json_line(LINE) + json_line(BARE)]
    log.record(LINE)
    assert len(stream.timers) == 1


def test_many_lines_do_not_wait_for_the_timer() -> None:
    stream = Stream()
    log = AccessLog(stream.writes.append, stream.later, "text")
    for _ in range(BATCH + 1):
        log.record(BARE)
    assert stream.writes == [text_line(BARE) * BATCH]
    stream.fire()
    assert stream.writes[1:] == [text_line(BARE)]


def test_a_flush_at_the_end_writes_what_is_left_and_nothing_twice() -> None:
    stream = Stream()
    log = AccessLog(stream.writes.append, stream.later)
    log.flush()
    log.record(LINE)
    log.flush()
    stream.fire()
    assert stream.writes == [json_line(LINE)]
