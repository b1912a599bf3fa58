"""The row that is booked for each request, and what it charges. Pure."""

from __future__ import annotations

from typing import NamedTuple

import orjson

from apipod_proxy.dialect.vocabulary import Usage

NO_USAGE = Usage()


class Attempt(NamedTuple):
    """One candidate that was asked: ``outcome`` is ``ok`` or why it ended, ``duration_ms`` until then.

    ``usage`` is what it reported; a loser's counts in the totals, never in the caller's charge.
    """

    model: str
    account: str
    outcome: str
    status: int | None
    usage: Usage | None
    duration_ms: int


class UsageRow(NamedTuple):
    """One request, in the order of the table's columns. ``started_at`` is epoch milliseconds; texts are "" where nothing is known."""

    request_id: str
    client_request_id: str
    started_at: int
    user_id: str
    api_key_id: str
    subscription_id: str
    path: str
    dialect: str
    requested_model: str
    routed_model: str
    provider: str
    account: str
    status: int
    outcome: str
    streamed: bool
    input_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    estimated: bool
    ttft_ms: int | None
    duration_ms: int
    attempts: tuple[Attempt, ...] = ()
    cost_nano: int | None = None
    """Nano-dollars that the caller is charged; None where the model has no price."""

    def as_columns(self) -> tuple[str | int | None, ...]:
        """The values for a database: booleans as 0/1, attempts as JSON text, texts that every database takes."""
        values: list[object] = [*self]
        for place in _OF_CLIENTS:
            values[place] = _text(values[place])
        values[_STREAMED] = int(self.streamed)
        values[_ESTIMATED] = int(self.estimated)
        values[_ATTEMPTS] = attempts_json(self.attempts)
        return tuple(values)  # type: ignore[arg-type]

    def as_json(self) -> bytes:
        """One line for the spool, without its newline."""
        return orjson.dumps(self.as_columns())


COLUMNS = UsageRow._fields

# Texts that a client chose; the others are the program's and the catalog's own.
_OF_CLIENTS = tuple(
    COLUMNS.index(name) for name in ("client_request_id", "path", "requested_model", "routed_model")
)
_ATTEMPTS = COLUMNS.index("attempts")
_STREAMED = COLUMNS.index("streamed")
_ESTIMATED = COLUMNS.index("estimated")


class Charge(NamedTuple):
    """``tokens`` is what limits count. ``usage`` has every class set; ``estimated``: one of them was not reported."""

    tokens: int
    usage: Usage
    estimated: bool


NOTHING = Charge(0, Usage(0, 0, 0, 0, 0), False)

# An Anthropic stream opens with a handful of output tokens before it has said anything; as the last report of a stream that was cut,
# such a number is no measurement.
PLACEHOLDER_OUTPUT = 8

# Bytes of an answer for one token: of text in a whole body, and of a stream, whose events wrap every few tokens in their JSON.
BYTES_PER_TOKEN = 4
STREAM_BYTES_PER_TOKEN = 60


def charge(
    reported: Usage | None,
    *,
    input_estimate: int,
    sent: bool,
    answer_bytes: int = 0,
    streamed: bool = False,
    whole: bool = True,
) -> Charge:
    """What one attempt used: as reported, and estimated where nothing was.

    ``sent``: any byte of the request went up; without that nothing was used. ``answer_bytes`` came back, and ``whole`` says
    whether the answer got to its end. What was sent is never charged below its input estimate unless the provider reports its input.
    An attempt that the provider refused with an error status used NOTHING, and is not for this function.
    """
    if not sent and reported is None:
        return NOTHING
    usage = reported or NO_USAGE
    taken, read, written = usage.input or 0, usage.cache_read or 0, usage.cache_write or 0
    estimated = usage.input is None and usage.cache_read is None and usage.cache_write is None
    if estimated:
        taken = input_estimate
    output = usage.output
    if output is None or (not whole and output <= PLACEHOLDER_OUTPUT):
        output = max(output or 0, estimate_output(answer_bytes, streamed=streamed))
        estimated = estimated or output != usage.output
    reasoning = usage.reasoning or 0
    filled = Usage(taken, read, written, output, reasoning)
    return Charge(taken + written + output + reasoning, filled, estimated)


def estimate_output(answer_bytes: int, *, streamed: bool) -> int:
    """Tokens of an answer whose usage was not reported, from its length on the wire."""
    return -(-answer_bytes // (STREAM_BYTES_PER_TOKEN if streamed else BYTES_PER_TOKEN))


def attempts_json(attempts: tuple[Attempt, ...]) -> str:
    """The attempts as the JSON text of their column; classes that were not reported are left out."""
    return orjson.dumps([_attempt(attempt) for attempt in attempts]).decode() if attempts else "[]"


def row_from_columns(values: list[object]) -> UsageRow:
    """The inverse of ``as_columns``. Raises ValueError or TypeError where ``values`` is not such a row."""
    if len(values) != len(COLUMNS):
        raise ValueError(f"a usage row has {len(COLUMNS)} columns, not {len(values)}")
    named = dict(zip(COLUMNS, values, strict=True))
    attempts = tuple(_attempt_from(entry) for entry in orjson.loads(str(named.pop("attempts"))))
    for flag in ("streamed", "estimated"):
        named[flag] = bool(named[flag])
    return UsageRow(**named, attempts=attempts)  # type: ignore[arg-type]


_CLASSES = ("input", "cache_read", "cache_write", "output", "reasoning")


def _attempt(attempt: Attempt) -> dict[str, object]:
    told: dict[str, object] = {
        "model": _text(attempt.model),
        "account": attempt.account,
        "outcome": attempt.outcome,
        "status": attempt.status,
        "duration_ms": attempt.duration_ms,
    }
    if attempt.usage is not None:
        usage = {name: value for name in _CLASSES if (value := getattr(attempt.usage, name)) is not None}
        if usage:
            told["usage"] = usage
    return told


def _attempt_from(entry: dict[str, object]) -> Attempt:
    usage = entry.pop("usage", None)
    return Attempt(**entry, usage=Usage(**usage) if isinstance(usage, dict) else None)  # type: ignore[arg-type]


def _text(value: object) -> str:
    """``value`` without what PostgreSQL refuses (NUL) and what is no UTF-8 (half surrogates, as undecodable bytes of a path)."""
    text = str(value)
    if text.isascii() and "\x00" not in text:
        return text
    return text.replace("\x00", "").encode("utf-8", "replace").decode()
