"""What is told to the operator at the terminal, and never to a client."""

from __future__ import annotations


class OperatorMistake(Exception):
    """Something the operator gave cannot be used, or cannot be done; ``lines`` say so, one for each mistake."""

    def __init__(self, *lines: str) -> None:
        super().__init__(*lines)
        self.lines = list(lines)

    def __str__(self) -> str:
        return "\n".join(self.lines)
