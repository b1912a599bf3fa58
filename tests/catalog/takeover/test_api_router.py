from __future__ import annotations

from typing import Any

import pytest

from apipod_proxy.catalog.model import Strategy
from apipod_proxy.catalog.takeover.api_router import take
from apipod_proxy.catalog.takeover.builder import NothingToTake, Taken
from tests.catalog.takeover.conftest import CREDENTIALS, TYPES, Reader
from tests.catalog.takeover.test_credentials import KEY, seal

MODELS: list[Any] = [
    {"vendor": "openai", "model": "gpt-4o"},
    {
        "vendor": "gemini",
        "model": "gemini-2.5-flash",
        "config": {"support_image": True, "support_streaming": True},
    },
]


def taken(node: object = MODELS, credentials: str | None = CREDENTIALS, **environment: str) -> Taken:
    return take(node, "it", credentials, TYPES, environment)


def test_every_name_goes_to_any_pair_of_key_and_model(read: Reader) -> None:
    document = read(taken())
    routes = document.subscriptions["api-router"].routes
    assert routes["*"].strategy is Strategy.EVEN
    assert [target.model for target in routes["*"].targets] == ["gpt-4o", "gemini-2.5-flash"]
    assert [target.model for target in routes["openai/gpt-4o"].targets] == ["gpt-4o"]
    assert [account.api_key for account in document.providers["openai"].accounts] == [
        "sk-router-one",
        "sk-router-two",
    ]


def test_a_bare_list_and_an_object_are_the_same() -> None:
    assert taken({"vendors": {}, "models": MODELS}).tree == taken().tree


def test_nineteen_keys_of_six_models_are_drawn_as_pairs(read: Reader) -> None:
    environment = {f"OPENAI_API_KEY_{number}": f"sk-{number}" for number in range(1, 20)}
    models = [{"vendor": "openai", "model": f"m-{number}"} for number in range(6)]
    document = read(taken(models, None, **environment), **environment)
    assert len(document.providers["openai"].accounts) == 19
    assert document.providers["openai"].accounts[18].origin == "${OPENAI_API_KEY_19}"
    assert len(document.subscriptions["api-router"].routes["*"].targets) == 6


def test_sealed_credentials_are_opened() -> None:
    assert taken(credentials=seal(CREDENTIALS), CONFIG_ENCRYPTION_KEY=KEY).tree == taken().tree


def test_the_environment_helps_out_where_the_file_cannot_be_read() -> None:
    found = taken(MODELS[:1], seal(CREDENTIALS), OPENAI_API_KEY="sk-env")
    assert found.tree["providers"]["openai"]["accounts"] == [
        {"name": "OPENAI_API_KEY", "api_key": "${OPENAI_API_KEY}"}
    ]
    assert any("CONFIG_ENCRYPTION_KEY is not in the environment" in note for note in found.notes)
    with pytest.raises(NothingToTake, match="CONFIG_ENCRYPTION_KEY"):
        taken(credentials=seal(CREDENTIALS))


def test_the_file_comes_before_the_environment() -> None:
    found = taken(OPENAI_API_KEY="sk-env")
    assert found.tree == taken().tree
    assert (
        "openai: OPENAI_API_KEY of the environment left out, because credentials.json has keys" in found.notes
    )


def test_flags_that_are_not_set_take_abilities_away(read: Reader) -> None:
    models = read(taken()).models
    assert models["gpt-4o"].capabilities is None
    assert models["gemini-2.5-flash"].capabilities == frozenset(
        ("vision", "audio", "documents", "thinking", "structured_output", "streaming")
    )


def test_the_client_timeout_is_to_the_first_byte_and_between_two() -> None:
    assert taken(CLIENT_TIMEOUT="600").tree["providers"]["openai"]["timeouts"] == {
        "first_byte": 600,
        "idle": 600,
    }
    assert taken().tree["providers"]["gemini"]["timeouts"] == {"first_byte": 1200, "idle": 1200}


def test_a_model_of_two_vendors_has_two_names() -> None:
    found = taken([{"vendor": "openai", "model": "m"}, {"vendor": "gemini", "model": "m"}])
    assert list(found.tree["models"]) == ["m", "gemini/m"]


def test_literal_keys_are_no_references(read: Reader) -> None:
    credentials = '[{"platform": "openai", "type": "api-key", "value": "sk-${HOME}"}]'
    document = read(taken(MODELS[:1], credentials))
    assert document.providers["openai"].accounts[0].api_key == "sk-${HOME}"


def test_other_vendors_are_reached_where_the_file_says() -> None:
    node = {"vendors": {"own": "http://127.0.0.1:9/llm"}, "models": [{"vendor": "own", "model": "m"}]}
    provider = taken(node, '[{"platform": "own", "value": "k"}]').tree["providers"]["own"]
    assert (provider["type"], provider["base_url"]) == ("openai_compatible", "http://127.0.0.1:9/llm")
    assert provider["options"]["openai_chat_path"] == "/chat/completions"


@pytest.mark.parametrize(
    ("wrong", "note"),
    [
        (5, "models[1]: no table, left out"),
        ({"vendor": "openai"}, "models[1]: no vendor or no model, left out"),
        ({"vendor": "x", "model": "m"}, "models[1] (m): no key or no address for the vendor x, left out"),
        ({"vendor": "openai", "model": "gpt-4o"}, "models[1] (gpt-4o): there already, left out"),
    ],
)
def test_what_cannot_be_taken_over_is_one_line(wrong: object, note: str) -> None:
    assert note in taken([MODELS[0], wrong]).notes


def test_nothing_at_all_is_a_mistake() -> None:
    with pytest.raises(NothingToTake, match="no model can be taken over"):
        taken(credentials=None)
    with pytest.raises(NothingToTake, match="names no models"):
        taken({"models": []})
