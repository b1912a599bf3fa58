"""The one line for each request. Lines are built in batches off the request's way. Nothing in them is a secret or content."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

import orjson

from apipod_proxy.dialect.vocabulary import Usage
from apipod_proxy.usage.record import Attempt

FLUSH_SECONDS = 0.05
BATCH = 200

Later = Callable[[float, Callable[[], None]], object]
"""As an event loop's ``call_later``."""


class LogLine(NamedTuple):
    """``time_ms`` is the epoch; texts are "" and numbers None where nothing is known. ``path`` loses its query, which may hold a key."""

    time_ms: int
    request_id: str
    client_request_id: str
    method: str
    path: str
    status: int
    outcome: str
    duration_ms: int
    client: str
    key_prefix: str
    requested_model: str
    model: str
    provider: str
    account: str
    strategy: str
    candidates: int
    attempts: tuple[Attempt, ...]
    ttft_ms: int | None
    streamed: bool
    usage: Usage | None
    estimated: bool


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
    # For every request that there is: unpacked at once and built in one literal, which costs half of the obvious way.
    (
        time_ms,
        request_id,
        client_request_id,
        method,
        path,
        status,
        outcome,
        duration_ms,
        client,
        key_prefix,
        requested_model,
        model,
        provider,
        account,
        strategy,
        candidates,
        attempts,
        ttft_ms,
        streamed,
        usage,
        estimated,
    ) = line
    return orjson.dumps(
        {
            "time": datetime.fromtimestamp(time_ms / 1000, UTC),
            "level": "info",
            "logger": "access",
            "message": "request",
            "request_id": request_id,
            "client_request_id": _known(client_request_id),
            "method": _known(method),
            "path": _path(path),
            "status": status,
            "outcome": outcome,
            "duration_ms": duration_ms,
            "client": client or None,
            "key_prefix": key_prefix or None,
            "requested_model": _known(requested_model),
            "model": _known(model),
            "provider": provider or None,
            "account": account or None,
            "strategy": strategy or None,
            "candidates": candidates,
            "attempts": [_attempt(attempt) for attempt in attempts],
            "ttft_ms": ttft_ms,
            "streamed": streamed,
            "tokens": None if usage is None else _tokens(usage),
            "estimated": estimated,
        },
        option=orjson.OPT_APPEND_NEWLINE,
    )


def text_line(line: LogLine) -> bytes:
    """The line for people: ``09:12:33.120 INFO access: POST /v1/messages 200 950 ms …``."""
    moment = datetime.fromtimestamp(line.time_ms / 1000, UTC).astimezone().strftime("%H:%M:%S.%f")[:-3]
    words = [f"{moment} INFO access: {line.method} {_path(line.path)} {line.status} {line.duration_ms} ms"]
    if line.outcome != "ok":
        words.append(line.outcome)
    if line.requested_model:
        routed = f" → {line.model} @ {line.provider}/{line.account}" if line.model else ""
        words.append(f"{line.requested_model}{routed}")
    if line.strategy:
        words.append(f"{line.strategy} of {line.candidates}")
    if len(line.attempts) > 1:
        words.append("tried " + ", ".join(f"{a.model}@{a.account}: {a.outcome}" for a in line.attempts))
    if line.ttft_ms is not None:
        words.append(f"ttft={line.ttft_ms} ms")
    if line.usage is not None:
        about = "~" if line.estimated else ""
        words.extend(f"{name}={about}{count}" for name, count in _tokens(line.usage).items() if count)
    words.extend(
        f"{name}={value}"
        for name, value in (
            ("key", line.key_prefix),
            ("id", line.request_id),
            ("client_id", line.client_request_id),
        )
        if value
    )
    return _one_line(" ".join(words)).encode("utf-8", "backslashreplace") + b"\n"


def _attempt(attempt: Attempt) -> dict[str, object]:
    model, account, outcome, status, _, duration_ms = attempt
    return {
        "model": _known(model),
        "account": account,
        "outcome": outcome,
        "status": status,
        "duration_ms": duration_ms,
    }


def _tokens(usage: Usage) -> dict[str, int | None]:
    return {
        "input": usage[0],
        "cache_read": usage[1],
        "cache_write": usage[2],
        "output": usage[3],
        "reasoning": usage[4],
    }


def _path(path: str) -> str:
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
