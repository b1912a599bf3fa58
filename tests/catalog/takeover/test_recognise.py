from __future__ import annotations

import pytest

from apipod_proxy.catalog.document import CatalogMistakes
from apipod_proxy.catalog.takeover.builder import Taken
from apipod_proxy.catalog.takeover.recognise import take_file
from tests.catalog.takeover.conftest import AI_PROXY, API_ROUTER, CREDENTIALS, TYPES


def taken(text: str, credentials: str | None = CREDENTIALS) -> Taken | None:
    return take_file(text, "file", credentials, TYPES, {"GITHUB_TOKEN": "x"})


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (AI_PROXY, "ai-proxy's configuration file"),
        (API_ROUTER, "the API router's file"),
        ('[{"vendor": "openai", "model": "m"}]', "the API router's file"),
        ("models:\n- {vendor: openai, model: m}\n", "the API router's file"),
    ],
)
def test_files_are_known_by_what_they_hold(text: str, what: str) -> None:
    found = taken(text)
    assert found is not None
    assert found.notes[0].startswith(f"taken over from {what}")


@pytest.mark.parametrize("text", ["models: {}", "limits: {rpm: 5}", "{", "", "a: [", "text"])
def test_what_is_none_of_them_is_left_to_the_catalog(text: str) -> None:
    assert taken(text) is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (CREDENTIALS, "file: holds keys alone; apply the models.json that it stands beside"),
        ('{"vendors": {}, "models": []}', "file: models.json names no models"),
    ],
)
def test_what_cannot_be_used_is_said(text: str, problem: str) -> None:
    with pytest.raises(CatalogMistakes) as caught:
        taken(text)
    assert caught.value.lines == [problem]
