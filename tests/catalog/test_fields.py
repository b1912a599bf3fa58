"""Fields read as what they are meant to be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from apipod_proxy.catalog.fields import MOST_MISTAKES, Mistakes, Table, describe, step
from apipod_proxy.catalog.model import LIMIT_KINDS, Limit, Strategy
from apipod_proxy.catalog.yaml_file import parse_yaml

ENVIRONMENT = {"N": "7", "YES": "true", "T": "text"}


def table(text: str) -> tuple[Table, Mistakes]:
    mistakes = Mistakes()
    return Table(parse_yaml(text), "t", None, ENVIRONMENT, mistakes), mistakes


GOOD: list[tuple[str, Callable[[Table], Any], Any]] = [
    ("x: hello", lambda t: t.text("x"), "hello"),
    ("x: 5", lambda t: t.text("x"), "5"),
    ("x: ${T}!", lambda t: t.text("x"), "text!"),
    ("y: 1", lambda t: t.text("x", "default"), "default"),
    ("x: 1_000", lambda t: t.whole("x"), 1000),
    ("x: 1e6", lambda t: t.whole("x"), 1_000_000),
    ("x: ${N}", lambda t: t.whole("x"), 7),
    ('x: "${N}"', lambda t: t.whole("x"), 7),
    ("x: ${NONE:-}", lambda t: t.whole("x"), None),
    ("x: ~", lambda t: t.whole("x"), None),
    ("x: 0.5", lambda t: t.number("x", 1), 0.5),
    ("x: .5", lambda t: t.number("x", 1), 0.5),
    ("x: On", lambda t: t.boolean("x", False), True),
    ("x: ${YES}", lambda t: t.boolean("x", False), True),
    ("x: false", lambda t: t.boolean("x", True), False),
    ("x: cost", lambda t: t.choice("x", Strategy.WEIGHTED), Strategy.COST),
    ("x: 2027-01-01", lambda t: t.time("x"), 1798761600000),
    ("x: 2027-01-01T01:00:00+01:00", lambda t: t.time("x"), 1798761600000),
    ("x: 2027-01-01 00:00:00.5", lambda t: t.time("x"), 1798761600500),
    ("x: [a, b, a]", lambda t: t.names("x"), frozenset("ab")),
    ("x: []", lambda t: t.names("x"), frozenset()),
    ("y: 1", lambda t: t.names("x"), None),
    ("x: {a: 1, b: two}", lambda t: t.strings("x"), {"a": "1", "b": "two"}),
    (
        "x: {rpm: 60, tpd: 0, tpm: {limit: 5, burst: 2}}",
        lambda t: dict(t.limits("x")),
        {"rpm": Limit(60, 60), "tpm": Limit(5, 2)},
    ),
    ("y: 1", lambda t: dict(t.limits("x")), {}),
]


@pytest.mark.parametrize(("text", "read", "expected"), GOOD)
def test_a_good_field_is_read(text: str, read: Callable[[Table], Any], expected: Any) -> None:
    t, mistakes = table(text)
    assert (read(t), mistakes.lines) == (expected, [])


ONE_LINE = "allowed: a text of one line without control characters"

BAD: list[tuple[str, Callable[[Table], Any], str]] = [
    ("x: [1]", lambda t: t.text("x"), "t.x: found a list; allowed: a text"),
    ("x: {}", lambda t: t.whole("x"), "t.x: found a table; allowed: a whole number from 0"),
    ("x: five", lambda t: t.whole("x", 1, 9), "t.x: found five; allowed: a whole number from 1 to 9"),
    ('x: "5"', lambda t: t.whole("x"), "t.x: found '5'; allowed: a whole number from 0, without quotes"),
    ("x: -1", lambda t: t.whole("x"), "t.x: found -1; allowed: a whole number from 0"),
    ("x: 1.5", lambda t: t.whole("x"), "t.x: found 1.5; allowed: a whole number from 0"),
    ("x: .inf", lambda t: t.number("x", 1), "t.x: found .inf; allowed: a number from 0 to 1e+09"),
    (
        "x: 0",
        lambda t: t.number("x", 1, high=9, above=True),
        "t.x: found 0; allowed: a number above 0 up to 9",
    ),
    ("x: maybe", lambda t: t.boolean("x", False), "t.x: found maybe; allowed: true or false"),
    (
        "x: wieghted",
        lambda t: t.choice("x", Strategy.COST),
        "t.x: found 'wieghted'; did you mean 'weighted'? allowed: weighted, priority, even, latency, cost",
    ),
    (
        "x: tomorrow",
        lambda t: t.time("x"),
        "t.x: found tomorrow; allowed: a date or time as 2027-01-31 or 2027-01-31T12:00:00Z (UTC unless it says otherwise)",
    ),
    ("x: a", lambda t: t.names("x"), "t.x: found a; allowed: a list of texts"),
    (
        "x: [visoin]",
        lambda t: t.names("x", ("vision", "tools")),
        "t.x[0]: found 'visoin'; did you mean 'vision'? allowed: vision, tools",
    ),
    *(
        (
            f"x: {time}",
            lambda t: t.time("x"),
            f"t.x: found {time}; allowed: a date or time as 2027-01-31 or 2027-01-31T12:00:00Z (UTC unless it says otherwise)",
        )
        for time in ("9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+12:00")
    ),
    ("x: [[a]]", lambda t: t.names("x"), "t.x[0]: found a list; allowed: a text"),
    (
        "x: ${NOT_SET}",
        lambda t: t.text("x"),
        "t.x: ${NOT_SET} is not set in the environment; allowed: setting it, or ${NOT_SET:-default}",
    ),
    (
        "x: ${",
        lambda t: t.text("x"),
        "t.x: '${' opens no reference; allowed: ${NAME} or ${NAME:-default}, or '$${' for the characters themselves",
    ),
    (
        'x: "a\\nb"',
        lambda t: t.text("x"),
        "t.x: found \"'a\\\\nb'\"; allowed: a text of one line without control characters",
    ),
    (
        'x: "s3cret\\n"',
        lambda t: t.text("x", secret=True),
        "t.x: found a text that is not shown; allowed: a text of one line without control characters",
    ),
    ("x: ''", lambda t: t.required("x", "a name"), "t.x: found an empty text; allowed: a name"),
    ("y: 1", lambda t: t.required("x", "a name"), "t.x: found nothing; allowed: a name"),
    (
        "x: {rmp: 5}",
        lambda t: t.limits("x"),
        "t.x.rmp: unknown field; did you mean 'rpm'? allowed: rpm, rph, rpd, tpm, tpd, requests_per_month, tokens_per_month, concurrency",
    ),
    (
        "x: {rpm: {burst: 5}}",
        lambda t: t.limits("x"),
        "t.x.rpm.limit: found nothing; allowed: a whole number from 0",
    ),
    (
        "x: {rpd: {limit: 5, burst: 2}}",
        lambda t: t.limits("x"),
        "t.x.rpd.burst: found 2; only rpm, rph, tpm have a burst: leave it out",
    ),
    (
        "x: {rpm: {limit: 5, burst: 0}}",
        lambda t: t.limits("x"),
        "t.x.rpm.burst: found 0; allowed: a whole number from 1",
    ),
    (
        "x: 5",
        lambda t: t.limits("x"),
        f"t.x: found 5; allowed: a table with {', '.join(LIMIT_KINDS)}",
    ),
    ("x: a", lambda t: t.items("x", ("m",)), "t.x: found a; allowed: a list"),
    ("x: [5]", lambda t: t.items("x", ("m",)), "t.x[0]: found 5; allowed: a table with m"),
    ("x: [~]", lambda t: t.items("x", ("m",)), "t.x[0]: found nothing; allowed: a table with m"),
    (
        "' a': {}",
        lambda t: list(t.tables(("m",))),
        "t: found the name ' a'; allowed: 1 to 250 printable characters, no blanks around them",
    ),
]


@pytest.mark.parametrize(("text", "read", "line"), BAD, ids=[line[:40] for _, _, line in BAD])
def test_a_bad_field_is_one_line_with_path_found_and_allowed(
    text: str, read: Callable[[Table], Any], line: str
) -> None:
    t, mistakes = table(text)
    read(t)
    assert mistakes.lines == [line]


def test_a_text_in_a_list_may_stand_for_a_table_of_one_field() -> None:
    t, mistakes = table("x: [gpt-4o, {m: other}]")
    assert [item.text("m") for item in t.items("x", ("m",), "m")] == ["gpt-4o", "other"]
    assert mistakes.lines == []


def test_paths_stay_readable() -> None:
    assert step("", "models") == "models"
    assert step("models", "gpt-4o") == "models.gpt-4o"
    assert step("models", "a/b:c") == 'models["a/b:c"]'
    assert step("models", "a\nb\x1b日") == 'models["a\\nb\\x1b\\u65e5"]'
    assert describe("x" * 100) == repr("x" * 57 + "…")


def test_a_hopeless_file_is_not_told_all_its_mistakes() -> None:
    mistakes = Mistakes()
    for number in range(1000):
        mistakes.add("t", str(number))
    assert len(mistakes.lines) == MOST_MISTAKES + 1
    assert mistakes.lines[-1] == "and more mistakes after these"
