"""A first look at a file: whether it can be another gateway's. It is cheap, because every start takes it."""

from __future__ import annotations

import re

# In a catalog ``models`` is a table; elsewhere it is a list. Comments and empty lines may stand between the name and the first entry.
_LIST_OF_MODELS = re.compile(r"(?:^|[\s{,])[\"']?models[\"']?[ \t]*:(?:\s|#[^\n]*\n)*(?:-[ \t\n]|\[)")
_STARTS_AS_A_LIST = re.compile(r"(?:\s|#[^\n]*\n|---[ \t]*\n)*(?:-[ \t\n]|\[)")


def may_be_foreign(text: str) -> bool:
    """Whether a closer look is due; False is certain."""
    return _STARTS_AS_A_LIST.match(text) is not None or _LIST_OF_MODELS.search(text) is not None
