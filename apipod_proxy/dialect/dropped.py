"""The list of what a target could not be told."""

from __future__ import annotations


class Dropped(list[str]):
    """Names, each once, in the order in which they were dropped."""

    def add(self, name: str) -> None:
        if name and name not in self:
            self.append(name)
