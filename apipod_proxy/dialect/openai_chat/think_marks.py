"""Reasoning that stands within the text, between ``<think>`` and ``</think>``."""

from __future__ import annotations

OPEN = "<think>"
CLOSE = "</think>"


class ThinkMarks:
    """Takes text apart into (is thinking, piece). Only a mark at the very beginning counts; later ones are text about marks."""

    __slots__ = ("_held", "_state", "_trim")

    def __init__(self) -> None:
        self._state = "begin"
        """begin → thinking → text, or begin → text."""
        self._held = ""
        self._trim = False

    def feed(self, text: str) -> list[tuple[bool, str]]:
        """What can be told so far; the rest, which may be the beginning of a mark, is held."""
        pieces: list[tuple[bool, str]] = []
        text = self._held + text
        self._held = ""
        if self._state == "begin":
            bare = text.lstrip()
            if bare.startswith(OPEN):
                self._state = "thinking"
                self._trim = True
                text = bare[len(OPEN) :]
            elif OPEN.startswith(bare):
                self._held = text
                return pieces
            else:
                self._state = "text"
        if self._state == "thinking":
            text = self._think(text, pieces)
        if self._state == "text" and text:
            self._say(text, pieces)
        return pieces

    def eof(self) -> list[tuple[bool, str]]:
        """What was held at the end."""
        held, self._held = self._held, ""
        return [(self._state == "thinking", held)] if held else []

    def _think(self, text: str, pieces: list[tuple[bool, str]]) -> str:
        """Adds the thinking in ``text``; gives what follows its end."""
        if self._trim:
            text = text.lstrip("\n")
            if not text:
                return ""
            self._trim = False
        thought, mark, rest = text.partition(CLOSE)
        if mark:
            self._state = "text"
            self._trim = True
            if thought:
                pieces.append((True, thought))
            return rest
        keep = _beginning_of(CLOSE, text)
        self._held = text[len(text) - keep :]
        if len(text) > keep:
            pieces.append((True, text[: len(text) - keep]))
        return ""

    def _say(self, text: str, pieces: list[tuple[bool, str]]) -> None:
        if self._trim:
            text = text.lstrip("\n")
            if not text:
                return
            self._trim = False
        pieces.append((False, text))


def _beginning_of(mark: str, text: str) -> int:
    """How many characters at the end of ``text`` may begin ``mark``."""
    return next(
        (size for size in range(min(len(mark) - 1, len(text)), 0, -1) if text.endswith(mark[:size])), 0
    )
