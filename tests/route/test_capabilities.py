from __future__ import annotations

import pytest

from apipod_proxy.route.capabilities import (
    AUDIO,
    BITS,
    DOCUMENTS,
    EVERYTHING,
    STREAMING,
    STRUCTURED_OUTPUT,
    THINKING,
    TOOLS,
    VISION,
    WORDS,
    Ability,
    Needs,
    ability_of,
    mask_of,
    missing,
    names_of,
)
from tests.route.build import model


def test_a_model_that_nothing_is_known_of_can_do_everything() -> None:
    assert ability_of(model("m", "p", "brand-new-1")) == Ability(EVERYTHING, None, None)


def test_the_table_decides_where_the_catalog_says_nothing() -> None:
    ability = ability_of(model("m", "p", "gpt-3.5-turbo"))
    assert not ability.mask & VISION
    assert ability.mask & TOOLS
    assert (ability.context_window, ability.max_output) == (16_385, 4_096)


def test_what_the_catalog_says_comes_before_the_table() -> None:
    ability = ability_of(model("m", "p", "gpt-3.5-turbo", capabilities=["vision"], context=99, output=7))
    assert ability == Ability(VISION | STREAMING, 99, 7)


def test_whether_a_model_thinks_is_known_or_not() -> None:
    assert ability_of(model("m", "p", "gpt-3.5-turbo")).thinks is False
    assert ability_of(model("m", "p", "gpt-3.5-turbo", capabilities=["thinking"])).thinks is True
    # Who lists what a model is good for may have thought of content alone.
    assert ability_of(model("m", "p", "gemini-3-flash", capabilities=["tools"])).thinks is None
    assert ability_of(model("m", "p", "gemini-3-flash")).thinks is None


def test_a_list_of_abilities_does_not_take_streaming_away() -> None:
    assert ability_of(model("m", "p", capabilities=[])).mask == STREAMING


def test_every_bit_has_a_name_and_words() -> None:
    assert sum(BITS.values()) == EVERYTHING
    assert set(WORDS) == set(BITS.values())
    assert names_of(EVERYTHING) == list(BITS)
    assert mask_of(names_of(TOOLS | AUDIO)) == TOOLS | AUDIO
    assert mask_of(["no such"]) == 0


@pytest.mark.parametrize(
    ("needs", "serves", "may_serve"),
    [
        (Needs(), True, True),
        (Needs(TOOLS), True, True),
        (Needs(VISION), False, False),
        (Needs(THINKING), True, True),
        (Needs(input_tokens=1000), True, True),
        (Needs(input_tokens=1001), False, True),
        (Needs(input_tokens=2002), False, False),
        (Needs(DOCUMENTS, 10_000_000), True, True),
    ],
)
def test_an_ability_serves_what_it_has_and_holds(needs: Needs, serves: bool, may_serve: bool) -> None:
    ability = Ability(TOOLS | DOCUMENTS, 1000, None)
    assert (ability.serves(needs), ability.may_serve(needs)) == (serves, may_serve)


def test_an_unknown_context_holds_everything() -> None:
    assert Ability(EVERYTHING, None, None).serves(Needs(input_tokens=10**9))


@pytest.mark.parametrize(
    ("needs", "abilities", "words"),
    [
        (Needs(VISION | TOOLS), [Ability(TOOLS, None, None)], "vision"),
        (Needs(VISION | TOOLS), [Ability(0, None, None)], "tool calling and vision"),
        (
            Needs(VISION | TOOLS),
            [Ability(TOOLS, None, None), Ability(VISION, None, None)],
            "tool calling and vision",
        ),
        (Needs(input_tokens=9000), [Ability(EVERYTHING, 100, None)], "a context of 9000 tokens"),
        (
            Needs(STRUCTURED_OUTPUT, 9000),
            [Ability(0, 100_000, None), Ability(EVERYTHING, 100, None)],
            "structured output and a context of 9000 tokens",
        ),
        (Needs(AUDIO | THINKING), [Ability(0, None, None)], "audio input"),
    ],
)
def test_a_refusal_names_what_is_missing(needs: Needs, abilities: list[Ability], words: str) -> None:
    assert missing("x", needs, abilities).capability == words
