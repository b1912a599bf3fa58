from __future__ import annotations

from apipod_proxy.dialect.table import DIALECTS


def test_every_row_stands_under_its_name() -> None:
    assert list(DIALECTS) == ["openai_chat", "anthropic", "gemini", "openai_responses"]
    assert all(row.name == name for name, row in DIALECTS.items())
