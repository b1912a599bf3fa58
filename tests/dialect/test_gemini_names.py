from __future__ import annotations

import pytest

from apipod_proxy.dialect.gemini_names import (
    REASONS,
    STATUSES,
    WORDS,
    camel,
    camel_deep,
    camel_keys,
    finish_word,
    generation,
    with_names,
)
from apipod_proxy.dialect.vocabulary import StopReason
from apipod_proxy.errors import BadRequest, Kind


def test_every_stop_reason_has_a_word_and_every_error_a_status() -> None:
    assert set(WORDS) == set(StopReason)
    assert set(STATUSES) == set(Kind)


@pytest.mark.parametrize("reason", [r for r in StopReason if r in set(REASONS.values())])
def test_the_two_tables_are_inverse(reason: StopReason) -> None:
    assert REASONS[WORDS[reason]] is reason


@pytest.mark.parametrize(
    ("value", "vertex", "word"),
    [
        ("SAFETY", False, "SAFETY"),
        ("NEW_REASON", False, "NEW_REASON"),
        ("FINISH_REASON_UNSPECIFIED", False, ""),
        (None, False, ""),
        (0, False, ""),
        (1, True, "STOP"),
        (6, False, "LANGUAGE"),
        (6, True, "BLOCKLIST"),
        (10, False, "MALFORMED_FUNCTION_CALL"),
        (9, True, "MALFORMED_FUNCTION_CALL"),
        (99, True, "OTHER"),
    ],
)
def test_finish_reasons_are_words_or_numbers(value: object, vertex: bool, word: str) -> None:
    assert finish_word(value, vertex) == word


@pytest.mark.parametrize(
    ("snake", "name"), [("max_output_tokens", "maxOutputTokens"), ("topK", "topK"), ("_x", "_x"), ("a", "a")]
)
def test_names_become_camel_case(snake: str, name: str) -> None:
    assert camel(snake) == name


def test_only_the_own_keys_change_unless_all_may() -> None:
    value = {"inline_data": {"mime_type": "x"}}
    assert camel_keys(value, "$") == {"inlineData": {"mime_type": "x"}}
    assert camel_keys({"inlineData": 1}, "$") == {"inlineData": 1}
    assert camel_deep([value]) == [{"inlineData": {"mimeType": "x"}}]


def test_a_field_in_two_spellings_is_refused() -> None:
    with pytest.raises(BadRequest, match=r"twice.*`\$.topK`"):
        camel_keys({"top_k": 1, "topK": 2}, "$")


@pytest.mark.parametrize(
    ("model", "age"),
    [
        ("models/gemini-2.5-flash", 2.5),
        ("gemini-3-pro-preview", 3.0),
        ("google/gemini-3.1-pro", 3.1),
        ("gemini-flash-latest", None),
        ("gemma-3", None),
    ],
)
def test_a_model_name_tells_its_generation(model: str, age: float | None) -> None:
    assert generation(model) == age


def test_numbered_enums_of_usage_get_their_names() -> None:
    numbered = {
        "trafficType": 1,
        "promptTokensDetails": [{"modality": 2, "tokenCount": 3}, {"modality": "TEXT"}],
        "promptTokenCount": 3,
    }
    assert with_names(numbered) == {
        "trafficType": "ON_DEMAND",
        "promptTokensDetails": [{"modality": "IMAGE", "tokenCount": 3}, {"modality": "TEXT"}],
        "promptTokenCount": 3,
    }
    assert with_names({"trafficType": 77, "xTokensDetails": [{"modality": 77}]}) == {
        "trafficType": "TRAFFIC_TYPE_UNSPECIFIED",
        "xTokensDetails": [{"modality": "MODALITY_UNSPECIFIED"}],
    }
