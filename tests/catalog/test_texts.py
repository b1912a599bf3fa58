"""Texts that headers, logs and databases take."""

from __future__ import annotations

import pytest

from apipod_proxy.catalog.texts import fits_a_header, is_name, is_one_line


@pytest.mark.parametrize("text", ["", "sk-1", "a b", "é", "ключ", "日本", "\u2028"])
def test_a_line_of_characters_is_one_line(text: str) -> None:
    assert is_one_line(text)


@pytest.mark.parametrize("text", ["a\nb", "a\rb", "\x00", "\t", "\x7f", "\ud800"])
def test_controls_and_halves_of_characters_are_not(text: str) -> None:
    assert not is_one_line(text)
    assert not fits_a_header(text)


def test_a_name_is_short_and_can_be_seen() -> None:
    assert all(map(is_name, ["a", "a b", "日本", "x" * 250]))
    assert not any(map(is_name, ["", " ", " a", "a\n", "\u2028", "x" * 251]))


def test_a_header_takes_latin_1_alone() -> None:
    assert fits_a_header("sk-é")
    assert not any(map(fits_a_header, ["ключ", "日本", "\u2028"]))
