"""What all dialects' conversations with an official SDK hold."""

from __future__ import annotations

from typing import Any

import pytest

SCHEMA: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WISH = 'Please use get_weather {"city": "Oslo"} and get_weather {"city": "Rome"}.'
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBgAAAABQABh6FO1AAAAABJRU5ErkJggg=="


@pytest.fixture
def schema() -> dict[str, Any]:
    """Of a tool that takes a city."""
    return SCHEMA


@pytest.fixture
def wish() -> str:
    """A text that asks for two calls at once."""
    return WISH


@pytest.fixture
def png() -> str:
    """An image of one pixel, base64."""
    return PNG
