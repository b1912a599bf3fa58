from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apipod_proxy.dialect.openai_chat.think_marks import ThinkMarks


def read(*pieces: str) -> tuple[str, str]:
    marks = ThinkMarks()
    found = [item for piece in pieces for item in marks.feed(piece)] + marks.eof()
    return "".join(text for thinking, text in found if thinking), "".join(
        text for thinking, text in found if not thinking
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<think>Hmm</think>Hello", ("Hmm", "Hello")),
        ("\n <think>\nHmm\n</think>\n\nHello\n", ("Hmm\n", "Hello\n")),
        ("Hello <think>no</think>", ("", "Hello <think>no</think>")),
        ("<think></think>Hello", ("", "Hello")),
        ("<think>never closed </thin", ("never closed </thin", "")),
        ("<thi", ("", "<thi")),
        ("<b>bold</b>", ("", "<b>bold</b>")),
        ("<think>a</think>b</think>", ("a", "b</think>")),
        ("", ("", "")),
    ],
)
def test_marks_are_found_in_any_split(text: str, expected: tuple[str, str]) -> None:
    assert read(text) == expected
    assert read(*text) == expected


@given(text=st.text(alphabet="<>/think ab\n", max_size=30), cut=st.integers(0, 30))
def test_a_split_changes_nothing(text: str, cut: int) -> None:
    assert read(text[:cut], text[cut:]) == read(text)
