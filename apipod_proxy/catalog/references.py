"""``${NAME}`` and ``${NAME:-default}`` in the text of a catalog; ``$${`` stands for ``${`` itself."""

from __future__ import annotations

import re
from collections.abc import Mapping

_PIECE = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|\$\{")
FORMS = "${NAME} or ${NAME:-default}"


class Unset(Exception):
    """``name`` is not in the environment, or empty there, and has no default."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"${{{self.name}}} is not set in the environment; allowed: setting it, or ${{{self.name}:-default}}"


class Malformed(Exception):
    def __str__(self) -> str:
        return f"'${{' opens no reference; allowed: {FORMS}, or '$${{' for the characters themselves"


def has_reference(text: str) -> bool:
    return "${" in text


def expand(text: str, environment: Mapping[str, str]) -> str:
    """``text`` with every reference replaced; raises Unset or Malformed."""
    if "${" not in text:
        return text

    def value(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        name, default = match[1], match[2]
        if name is None:
            raise Malformed
        found = environment.get(name) or default
        if found is None:
            raise Unset(name)
        return found

    return _PIECE.sub(value, text)


def sole_name(text: str) -> str | None:
    """The name, if ``text`` is one reference and nothing else."""
    match = _PIECE.fullmatch(text.strip())
    return match[1] if match else None


def names(text: str) -> list[str]:
    """The names that ``text`` refers to, each once, in order."""
    return list(dict.fromkeys(match[1] for match in _PIECE.finditer(text) if match[1]))


def escape(text: str) -> str:
    """``text`` such that ``expand`` gives it back."""
    return text.replace("${", "$${")
