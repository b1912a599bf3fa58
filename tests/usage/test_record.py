from __future__ import annotations

import orjson
import pytest

from apipod_proxy.dialect.vocabulary import Usage
from apipod_proxy.usage.record import (
    COLUMNS,
    LONGEST_NAME,
    MOST,
    NOTHING,
    Attempt,
    attempts_json,
    charge,
    estimate_output,
    fit_number,
    fit_text,
    row_from_columns,
)
from tests.usage.build import ATTEMPTS, row


def test_the_columns_are_those_of_the_table_in_its_order() -> None:
    assert ", ".join(COLUMNS) == (
        "request_id, client_request_id, started_at, user_id, api_key_id, subscription_id, path, dialect, requested_model, "
        "routed_model, provider, account, status, outcome, streamed, input_tokens, cache_read_tokens, cache_write_tokens, "
        "output_tokens, reasoning_tokens, estimated, ttft_ms, duration_ms, attempts, cost_nano"
    )


def test_attempts_are_json() -> None:
    assert orjson.loads(row().attempts) == [
        {"model": "sonnet", "account": "a", "outcome": "status 529", "status": 529, "duration_ms": 120},
        {
            "model": "flash",
            "account": "b",
            "outcome": "ok",
            "status": 200,
            "duration_ms": 800,
            "usage": {"input": 10, "output": 20},
        },
    ]


@pytest.mark.parametrize("name", ["flash", 'a"b\\c', "\udcff\x00é", "{},{", "n" * 1000])
def test_the_only_attempt_is_written_as_one_of_several(name: str) -> None:
    attempt = Attempt(name, name[:9], "ok", 200, Usage(1, 2, 3, 4, 5), 800)
    one, two = attempts_json([attempt]), attempts_json([attempt, attempt])
    assert f"[{one[1:-1]},{one[1:-1]}]" == two
    assert orjson.loads(one)[0]["usage"] == {
        "input": 1,
        "cache_read": 2,
        "cache_write": 3,
        "output": 4,
        "reasoning": 5,
    }
    assert len(orjson.loads(one)[0]["model"]) <= LONGEST_NAME


def test_an_absurd_count_of_an_attempt_is_written_too() -> None:
    attempt = Attempt("m", "a", "ok", 200, Usage(input=2**70), 1)
    assert orjson.loads(attempts_json([attempt]))[0]["usage"] == {"input": MOST}


def test_texts_and_numbers_are_made_fit_for_every_database() -> None:
    assert [fit_text(text) for text in ("plain", "é", "a\x00b", "\udcff\x00é", "/v1/\udc80")] == [
        *("plain", "é", "ab", "?é", "/v1/?")
    ]
    assert [fit_number(number) for number in (5, 2**70, -(2**70))] == [5, MOST, -MOST]


def test_a_row_comes_back_as_it_was_written() -> None:
    assert row_from_columns(orjson.loads(row().as_json())) == row()
    bare = row(attempts=())._replace(ttft_ms=None)
    assert row_from_columns(orjson.loads(bare.as_json())) == bare


def test_a_row_of_an_earlier_version_is_made_fit() -> None:
    earlier = row()._replace(input_tokens=2**64 - 1, path="/a\x00", streamed=True)
    assert row_from_columns(orjson.loads(earlier.as_json())) == row()._replace(input_tokens=MOST, path="/a")


@pytest.mark.parametrize(
    ("column", "value"), [("attempts", "{}"), ("attempts", "["), ("path", None), ("status", 1.5)]
)
def test_a_row_with_a_value_of_another_kind_is_refused(column: str, value: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        row_from_columns([*row()._replace(**{column: value})])  # type: ignore[arg-type]


@pytest.mark.parametrize("values", [[], [1], ["x"] * len(COLUMNS), list(range(len(COLUMNS)))])
def test_what_is_no_row_is_refused(values: list[object]) -> None:
    with pytest.raises((ValueError, TypeError)):
        row_from_columns(values)


def test_an_attempt_that_reported_nothing_has_no_usage_in_its_json() -> None:
    assert attempts_json(()) == "[]"
    assert "usage" not in attempts_json((Attempt("m", "a", "ok", 200, Usage(), 1),))
    assert attempts_json(ATTEMPTS[:1]) == (
        '[{"model":"sonnet","account":"a","outcome":"status 529","status":529,"duration_ms":120}]'
    )


def test_a_charge_counts_uncached_input_cache_writes_output_and_reasoning() -> None:
    made = charge(Usage(100, 1000, 30, 50, 7), input_estimate=9, sent=True)
    assert made.tokens == 100 + 30 + 50 + 7
    assert made.usage == Usage(100, 1000, 30, 50, 7)
    assert not made.estimated


def test_nothing_sent_is_nothing_charged() -> None:
    assert charge(None, input_estimate=500, sent=False, answer_bytes=100) == NOTHING


def test_what_was_not_reported_is_estimated_and_never_below_the_input_estimate() -> None:
    made = charge(None, input_estimate=500, sent=True)
    assert (made.tokens, made.estimated) == (500, True)
    made = charge(None, input_estimate=500, sent=True, answer_bytes=401)
    assert (made.usage.input, made.usage.output) == (500, 101)


def test_a_class_that_was_reported_is_not_estimated() -> None:
    made = charge(
        Usage(input=40), input_estimate=500, sent=True, answer_bytes=6000, streamed=True, whole=False
    )
    assert (made.usage.input, made.usage.output, made.estimated) == (40, 100, True)
    made = charge(Usage(output=3), input_estimate=500, sent=True)
    assert (made.usage.input, made.usage.output, made.estimated) == (500, 3, True)
    made = charge(Usage(cache_read=80, output=3), input_estimate=500, sent=True)
    assert (made.usage.input, made.usage.cache_read, made.estimated) == (0, 80, False)


def test_zero_differs_from_unknown() -> None:
    made = charge(Usage(0, 0, 0, 0, 0), input_estimate=500, sent=True, answer_bytes=1000)
    assert (made.tokens, made.estimated) == (0, False)


def test_the_opening_report_of_a_cut_stream_is_no_measurement_of_its_output() -> None:
    opening = Usage(input=40, output=1)
    made = charge(opening, input_estimate=9, sent=True, answer_bytes=6000, streamed=True, whole=False)
    assert (made.usage.output, made.estimated) == (100, True)
    short = charge(opening, input_estimate=9, sent=True, answer_bytes=30, streamed=True, whole=False)
    assert (short.usage.output, short.estimated) == (1, False)
    whole = charge(opening, input_estimate=9, sent=True, answer_bytes=6000, streamed=True, whole=True)
    assert whole.usage.output == 1


def test_the_last_report_of_a_cut_stream_is_taken() -> None:
    made = charge(
        Usage(40, output=50), input_estimate=9, sent=True, answer_bytes=90_000, streamed=True, whole=False
    )
    assert (made.tokens, made.estimated) == (90, False)


def test_output_is_estimated_from_its_length_on_the_wire() -> None:
    assert estimate_output(0, streamed=True) == 0
    assert estimate_output(1, streamed=True) == 1
    assert estimate_output(600, streamed=True) == 10
    assert estimate_output(600, streamed=False) == 150
