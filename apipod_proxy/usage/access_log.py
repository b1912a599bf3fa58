"""The one line for each request. Lines are built in batches off the request's way. Nothing in them is a secret or content."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

import orjson

from apipod_proxy.dialect.vocabulary import Usage
from apipod_proxy.usage.record import LONGEST_NAME, Attempt, UsageRow, attempt_head

FLUSH_SECONDS = 0.05
BATCH = 200

Later = Callable[[float, Callable[[], None]], object]
"""As an event loop's ``call_later``."""


class LogLine(NamedTuple):
    """A request's row, and what is only logged. Texts are "" and ``usage`` None where nothing is known."""

    row: UsageRow
    method: str
    client: str
    key_prefix: str
    strategy: str
    candidates: int
    attempts: tuple[Attempt, ...]
    usage: Usage | None


class AccessLog:
    """``write`` takes bytes that end in a newline and does not wait; ``later`` is the loop's ``call_later``. ``form``: json | text."""

    def __init__(self, write: Callable[[bytes], None], later: Later, form: str = "json") -> None:
        self._write = write
        self._later = later
        self._format = json_line if form == "json" else text_line
        self._lines: list[LogLine] = []
        self._waiting = False

    def record(self, line: LogLine) -> None:
        """Takes one line in; it is written within FLUSH_SECONDS, or with the next BATCH."""
        lines = self._lines
        lines.append(line)
        if not self._waiting:
            self._waiting = True
            self._later(FLUSH_SECONDS, self.flush)
        elif len(lines) >= BATCH:
            self._emit()

    def flush(self) -> None:
        """Writes what is there; also to be called at the end."""
        self._waiting = False
        self._emit()

    def _emit(self) -> None:
        if self._lines:
            lines, self._lines = self._lines, []
            self._write(b"".join(map(self._format, lines)))


def json_line(line: LogLine) -> bytes:
    """The line as one JSON object of always the same members; null is not known."""
    # For every request that there is: unpacked at once and written out, and what is the same for many of them is encoded once.
    row, method, client, key_prefix, strategy, candidates, attempts, usage = line
    request_id, client_id, time_ms, _, _, _, path, _, requested_model, model, provider, account = row[:12]
    status, outcome, streamed, _, _, _, _, _, estimated, ttft_ms, duration_ms = row[12:23]
    if len(attempts) == 1 and usage is not None and usage is attempts[0].usage and None not in usage[:5]:
        # The ordinary case: the column holds both already. A quote inside a text of it would be escaped, so this is no part of one.
        told, _, tokens = row.attempts.partition(',"usage":')
        told, tokens = f"{told}}}]", tokens[:-2]
    else:
        told = f"[{','.join([_attempt(attempt) for attempt in attempts])}]"
        tokens = "null" if usage is None else orjson.dumps(_tokens(usage)).decode()
    asked = _asked(method, path, requested_model, model, provider, account, strategy)
    return (
        f'{{"time":"{_second(time_ms // 1000)}.{time_ms % 1000:03}+00:00","level":"info","logger":"access",'
        f'"message":"request","request_id":"{request_id}","client_request_id":{_json(client_id) if client_id else "null"},"status":{status},'
        f'"outcome":"{outcome}","duration_ms":{duration_ms},{_who(client, key_prefix)},{asked},"candidates":{candidates},'
        f'"attempts":{told},"ttft_ms":{"null" if ttft_ms is None else ttft_ms},"streamed":{"true" if streamed else "false"},'
        f'"tokens":{tokens},"estimated":{"true" if estimated else "false"}}}\n'
    ).encode()


def text_line(line: LogLine) -> bytes:
    """The line for people: ``09:12:33.120 INFO access: POST /v1/messages 200 950 ms …``."""
    row = line.row
    moment = datetime.fromtimestamp(row.started_at / 1000, UTC).astimezone().strftime("%H:%M:%S.%f")[:-3]
    words = [f"{moment} INFO access: {line.method} {_path(row.path)} {row.status} {row.duration_ms} ms"]
    if row.outcome != "ok":
        words.append(row.outcome)
    if row.requested_model:
        routed = f" → {row.routed_model} @ {row.provider}/{row.account}" if row.routed_model else ""
        words.append(f"{row.requested_model}{routed}")
    if line.strategy:
        words.append(f"{line.strategy} of {line.candidates}")
    if len(line.attempts) > 1:
        words.append("tried " + ", ".join(f"{a.model}@{a.account}: {a.outcome}" for a in line.attempts))
    if row.ttft_ms is not None:
        words.append(f"ttft={row.ttft_ms} ms")
    if line.usage is not None:
        about = "~" if row.estimated else ""
        words.extend(f"{name}={about}{count}" for name, count in _tokens(line.usage).items() if count)
    words.extend(
        f"{name}={value}"
        for name, value in (
            ("key", line.key_prefix),
            ("id", row.request_id),
            ("client_id", row.client_request_id),
        )
        if value
    )
    return _one_line(" ".join(words)).encode("utf-8", "backslashreplace") + b"\n"


# What follows is pure and remembers its last answers, since requests repeat each other in all but their times and counts.


@lru_cache(maxsize=4)
def _second(epoch: int) -> str:
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%S")


@lru_cache(maxsize=1024)
def _who(client: str, key_prefix: str) -> str:
    return _members({"client": client, "key_prefix": key_prefix})


@lru_cache(maxsize=512)
def _asked(
    method: str, path: str, requested_model: str, model: str, provider: str, account: str, strategy: str
) -> str:
    return _members(
        {
            "method": method,
            "path": _path(path),
            "requested_model": requested_model,
            "model": model,
            "provider": provider,
            "account": account,
            "strategy": strategy,
        }
    )


def _members(texts: dict[str, str]) -> str:
    """The members of a JSON object without its braces; null for ""."""
    return orjson.dumps({name: _known(text) for name, text in texts.items()}).decode()[1:-1]


def _json(text: str) -> str:
    return orjson.dumps(_utf8(text)).decode()


def _attempt(attempt: Attempt) -> str:
    model, account, outcome, status, _, duration_ms = attempt
    return f'{attempt_head(model[:LONGEST_NAME], account, outcome, status)},"duration_ms":{duration_ms}}}'


def _tokens(usage: Usage) -> dict[str, int | None]:
    return {
        "input": usage[0],
        "cache_read": usage[1],
        "cache_write": usage[2],
        "output": usage[3],
        "reasoning": usage[4],
    }


def _path(path: str) -> str:
    """Without its query, which may hold a key."""
    if "?" in path:
        path = path.partition("?")[0]
    return path if path.isascii() else _utf8(path)


def _known(text: str) -> str | None:
    """None for "", and text as JSON can hold it."""
    return (text if text.isascii() else _utf8(text)) if text else None


def _utf8(text: str) -> str:
    """Half surrogates, as undecodable bytes of a path, are no JSON."""
    return text.encode("utf-8", "backslashreplace").decode()


def _one_line(text: str) -> str:
    """Control characters escaped, so that a client cannot forge a line or drive a terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
