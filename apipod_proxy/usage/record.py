"""The row that is booked for each request, and what it charges. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import orjson

from apipod_proxy.dialect.vocabulary import Usage

NO_USAGE = Usage()

LONGEST_NAME = 256
"""Characters kept of a text that a client chose."""


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
    """One request: the values of the table's columns, in their order, as a database takes them.

    ``started_at`` is epoch milliseconds; texts are "" where nothing is known; ``streamed`` and ``estimated`` are 0 or 1.
    """

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
    streamed: int
    input_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    estimated: int
    ttft_ms: int | None
    duration_ms: int
    attempts: str = "[]"
    """As ``attempts_json`` writes them."""
    cost_nano: int | None = None
    """Nano-dollars that the caller is charged; None where the model has no price."""

    def as_json(self) -> bytes:
        """One line for the spool, without its newline."""
        return orjson.dumps(tuple(self))


COLUMNS = UsageRow._fields

_NUMBERS = frozenset(name for name in COLUMNS if name.endswith(("_tokens", "_ms", "_at", "_nano"))) | {
    *("status", "streamed", "estimated")
}
_NULLABLE = frozenset({"ttft_ms", "cost_nano"})

MOST = 2**63 - 1
"""What the columns of numbers hold."""


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


def attempts_json(attempts: Sequence[Attempt]) -> str:
    """The attempts as the JSON text of their column, compact; classes that were not reported are left out."""
    if len(attempts) == 1:
        model, account, outcome, status, usage, ms = attempts[0]
        if usage is not None:
            taken, read, written, output, reasoning, _ = usage
            # Of nearly every request, and written at half the cost of dicts and their encoding.
            if None not in (taken, read, written, output, reasoning):
                return (
                    f'[{attempt_head(model[:LONGEST_NAME], account, outcome, status)},"duration_ms":{ms},"usage":{{"input":{taken},'
                    f'"cache_read":{read},"cache_write":{written},"output":{output},"reasoning":{reasoning}}}}}]'
                )
    return orjson.dumps([_attempt(attempt) for attempt in attempts]).decode()


@lru_cache(maxsize=1024)  # pure, and nearly always of the same few models and accounts
def attempt_head(model: str, account: str, outcome: str, status: int | None) -> str:
    """How the JSON object of an attempt begins: without its duration and its closing brace."""
    told = {
        "model": fit_text(model),
        "account": fit_text(account),
        "outcome": fit_text(outcome),
        "status": status,
    }
    return orjson.dumps(told).decode()[:-1]


_CLASSES = ("input", "cache_read", "cache_write", "output", "reasoning")


def _attempt(attempt: Attempt) -> dict[str, object]:
    told: dict[str, object] = {
        "model": fit_text(attempt.model[:LONGEST_NAME]),
        "account": fit_text(attempt.account),
        "outcome": fit_text(attempt.outcome),
        "status": attempt.status,
        "duration_ms": attempt.duration_ms,
    }
    usage = {
        name: fit_number(value)
        for name, value in zip(_CLASSES, (attempt.usage or ())[:5], strict=False)
        if value is not None
    }
    if usage:
        told["usage"] = usage
    return told


def row_from_columns(values: Sequence[object]) -> UsageRow:
    """The row of a line of the spool, whichever version wrote it. Raises ValueError or TypeError where ``values`` is no row."""
    if len(values) != len(COLUMNS):
        raise ValueError(f"a usage row has {len(COLUMNS)} columns, not {len(values)}")
    named = dict(zip(COLUMNS, values, strict=True))
    for name, value in named.items():
        if value is None and name in _NULLABLE:
            continue
        if name not in _NUMBERS and isinstance(value, str):
            named[name] = fit_text(value)
        elif name in _NUMBERS and isinstance(value, int):
            named[name] = fit_number(value)
        else:
            raise TypeError(f"{name} of a usage row is a {type(value).__name__}")
    if not isinstance(orjson.loads(str(named["attempts"])), list):
        raise ValueError("attempts of a usage row are no list")
    return UsageRow(**named)  # type: ignore[arg-type]


def fit_text(text: str) -> str:
    """``text`` without what PostgreSQL refuses (NUL) and what is no UTF-8 (half surrogates, as undecodable bytes of a path)."""
    if text.isascii() and "\x00" not in text:
        return text
    return text.replace("\x00", "").encode("utf-8", "replace").decode()


def fit_number(number: int) -> int:
    """``number``, or the nearest that a column holds."""
    return max(-MOST, min(int(number), MOST))
