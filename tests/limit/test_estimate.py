from __future__ import annotations

import base64
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apipod_proxy.limit.estimate import EDGES, UNSEEN_OUTPUT, Outputs, attachments, input_tokens, reserve

maybe = st.none() | st.integers(0, 10**7)


@pytest.mark.parametrize(
    ("asked", "model_max", "p99", "capacity", "expected"),
    [
        (500, None, None, None, 600),
        (500, 300, None, None, 400),
        (500, 300, 200, None, 300),
        (8000, None, None, None, 8100),
        (None, 64_000, None, None, 100 + UNSEEN_OUTPUT),
        (None, 512, None, None, 612),
        (None, None, None, None, 100 + UNSEEN_OUTPUT),
        (None, None, 3000, None, 3100),
        (500, None, None, 250, 250),
        (0, None, None, None, 100),
    ],
)
def test_the_least_of_what_is_known_is_reserved(
    asked: int | None, model_max: int | None, p99: int | None, capacity: int | None, expected: int
) -> None:
    assert reserve(100, asked, model_max, p99, capacity) == expected


@given(st.integers(0, 10**7), maybe, maybe, maybe, st.integers(1, 10**7))
def test_no_reservation_is_above_the_capacity_or_below_nothing(
    estimate: int, asked: int | None, model_max: int | None, p99: int | None, capacity: int
) -> None:
    assert 0 <= reserve(estimate, asked, model_max, p99, capacity) <= capacity


def test_input_is_estimated_from_its_length_and_attachments_from_their_number() -> None:
    assert input_tokens(4000) == 1000
    assert input_tokens(0) == 1
    assert input_tokens(1_000_400, media=1, media_bytes=1_000_000) == 1700


def test_attachments_are_found_by_their_base64_and_counted_by_number() -> None:
    image = base64.b64encode(random.Random(1).randbytes(60_000))
    url = b'{"type":"image_url","image_url":{"url":"data:image/png;base64,' + image + b'"}}'
    text = b'{"type":"text","text":"' + b"What do you see in this picture? " * 2000 + b'"}'
    body = b'{"messages":[{"role":"user","content":[' + b",".join([url, text, url, url]) + b"]}]}"
    count, held = attachments(body)
    assert count == 3
    assert abs(held - 3 * len(image)) < 3 * 100
    assert input_tokens(len(body), count, held) < 3 * 1600 + len(text) // 4 + 200
    assert attachments(bytearray(body)) == (count, held)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"a" * 100,
        b"the quick brown fox " * 5000,
        "\u4f60\u597d".encode() * 20_000,
        b"x = [1, 2];" * 9000,
    ],
)
def test_text_is_no_attachment(body: bytes) -> None:
    assert attachments(body) == (0, 0)


def test_an_attachment_that_nothing_ends_reaches_to_the_end() -> None:
    assert attachments(b"A" * 50_000) == (1, 50_000)
    assert attachments(b'"' + b"A" * 50_000) == (1, 50_000)


def test_nothing_is_learnt_from_a_few_answers() -> None:
    outputs = Outputs()
    for _ in range(Outputs.ENOUGH - 1):
        outputs.observe(100)
    assert outputs.p99() is None
    outputs.observe(100)
    assert outputs.p99() is not None


def test_the_learnt_length_is_within_a_class_of_the_true_percentile() -> None:
    outputs, draw = Outputs(half_life=5000), random.Random(7)
    lengths = [int(draw.lognormvariate(6, 1)) for _ in range(5000)]
    for length in lengths:
        outputs.observe(length)
    true = sorted(lengths)[int(len(lengths) * 0.99)]
    learnt = outputs.p99()
    assert learnt is not None
    assert true * 0.8 <= learnt <= true * 1.4


def test_one_long_answer_in_a_thousand_does_not_make_the_others_reserve_for_it() -> None:
    outputs = Outputs()
    for number in range(2000):
        outputs.observe(100_000 if number % 1000 == 500 else 100)
    assert (outputs.p99() or 0) < 200


def test_old_answers_are_forgotten() -> None:
    outputs = Outputs(half_life=100)
    for _ in range(1000):
        outputs.observe(50_000)
    assert (outputs.p99() or 0) >= 50_000
    for _ in range(1000):
        outputs.observe(100)
    assert (outputs.p99() or 0) < 200


def test_the_weights_never_overflow() -> None:
    outputs = Outputs(half_life=1)
    for _ in range(2000):
        outputs.observe(100)
    assert repr(outputs) == f"<Outputs p99={outputs.p99()} of 2000>"
    assert 100 <= (outputs.p99() or 0) < 200


@pytest.mark.parametrize(("length", "expected"), [(0, EDGES[0]), (10**9, EDGES[-1])])
def test_lengths_out_of_range_fall_into_the_outer_classes(length: int, expected: int) -> None:
    outputs = Outputs()
    for _ in range(100):
        outputs.observe(length)
    assert outputs.p99() == expected
