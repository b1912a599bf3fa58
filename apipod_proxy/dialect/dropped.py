"""The list of what a target could not be told."""

from __future__ import annotations

from collections.abc import Iterable

from apipod_proxy.dialect.vocabulary import Call, Json


def knobs(of_tool: Iterable[str]) -> str:
    """How the members of a tool that only one dialect knows are named: once, however many tools have them."""
    return ", ".join(f"tools.{name}" for name in of_tool)


class Dropped(list[str]):
    """Names, each once, in the order in which they were dropped."""

    def add(self, name: str) -> None:
        if name and name not in self:
            self.append(name)

    def cut(self, asked: int, most: int | None) -> int:
        """The output tokens ``asked`` for, or ``most`` where the model gives no more: that is noted as ``max_tokens``."""
        if most is None or asked <= most:
            return asked
        self.add("max_tokens")
        return most

    def add_set(self, knobs: dict[str, Json]) -> None:
        """The names of ``knobs`` that the client gave a value."""
        for name, value in knobs.items():
            if value is not None:
                self.add(name)

    def add_private(self, call: Call) -> None:
        """What only the client's dialect knows."""
        if call.safety is not None:
            self.add(call.safety.what or "safety")
        for extra in call.extra:
            self.add(extra.what)
