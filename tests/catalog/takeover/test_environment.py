from __future__ import annotations

import pytest

from apipod_proxy.catalog.takeover.environment import client_timeout, key_names, retries_in, seconds_of


def test_numbered_keys_follow_the_one_without_a_number_and_count_once() -> None:
    environment = {
        "OPENAI_API_KEY_10": "c",
        "OPENAI_API_KEY_2": "b",
        "OPENAI_API_KEY": "a",
        "OPENAI_API_KEY_3": "a",
        "OPENAI_API_KEY_4": " ",
        "OPENAI_API_KEY_X": "d",
    }
    assert key_names("openai", environment) == ["OPENAI_API_KEY", "OPENAI_API_KEY_2", "OPENAI_API_KEY_10"]
    assert key_names("anthropic", {"ANTHROPIC_API_KEY_1": "x"}) == ["ANTHROPIC_API_KEY_1"]
    assert key_names("unheard-of", environment) == []


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1),
        ("500ms", 0.5),
        ("1m30s", 90),
        ("1.5h", 5400),
        ("0", 0),
        ("5", None),
        ("", None),
        ("1 s", None),
    ],
)
def test_durations_are_read_as_go_writes_them(text: str, seconds: float | None) -> None:
    assert seconds_of(text) == seconds


def test_retries_become_attempts_and_pauses() -> None:
    notes: list[str] = []
    environment = {
        "RETRY_MAX_RETRIES": "4",
        "RETRY_BASE_DELAY": "250ms",
        "RETRY_MAX_DELAY": "10s",
        "RETRY_JITTER": "0.1",
    }
    assert retries_in(environment, notes) == {"attempts": 5, "base": 0.25, "max": 10, "jitter": 0.1}
    assert notes == []


def test_wrong_values_are_named_and_left_out() -> None:
    notes: list[str] = []
    environment = {"RETRY_MAX_RETRIES": "many", "RETRY_BASE_DELAY": "1", "RETRY_JITTER": "2"}
    assert retries_in(environment, notes) == {}
    assert notes == [
        "RETRY_MAX_RETRIES is 'many' and was left out; allowed: a number from 0 to 99",
        "RETRY_BASE_DELAY is '1' and was left out; allowed: a duration as 500ms or 2s",
        "RETRY_JITTER is '2' and was left out; allowed: a number from 0 to 1",
    ]


@pytest.mark.parametrize(
    ("text", "seconds"), [("600", 600), ("20m", 1200), ("", None), ("0", None), ("x", None)]
)
def test_the_client_timeout_is_in_seconds(text: str, seconds: float | None) -> None:
    notes: list[str] = []
    assert client_timeout({"CLIENT_TIMEOUT": text}, notes) == seconds
    assert bool(notes) == (text in ("0", "x"))
