from __future__ import annotations

from typing import Any

import pytest

from apipod_proxy.catalog.model import LIMIT_KINDS, Limit, Strategy, Target
from apipod_proxy.catalog.takeover.ai_proxy import take
from apipod_proxy.catalog.takeover.builder import NothingToTake, Taken
from apipod_proxy.catalog.takeover.recognise import take_file
from tests.catalog.takeover.conftest import AI_PROXY, TYPES, Reader

ENVIRONMENT = {"AUTH_TOKEN": "token-of-all", "GITHUB_TOKEN": "ghp"}


def taken(text: str = AI_PROXY) -> Taken:
    found = take_file(text, "provider-config.yaml", None, TYPES, ENVIRONMENT)
    assert found is not None
    return found


def entry(**fields: Any) -> dict[str, Any]:
    return {"name": "a/model-one", "provider": "a", "url": "https://a.example/v1/chat/completions", **fields}


def take_entries(*entries: object) -> Taken:
    return take(list(entries), "it", TYPES, ENVIRONMENT)


def test_endpoints_become_providers(read: Reader) -> None:
    providers = read(taken()).providers
    assert {name: (p.type, p.base_url, p.accounts[0].api_key) for name, p in providers.items()} == {
        "groq": ("groq", "", "gsk-one"),
        "google": ("google_ai_studio", "", "goog-one"),
        "github": ("openai_compatible", "https://models.inference.ai.azure.com", "ghp"),
        "cloudflare": ("cloudflare", "", "cf-one"),
    }
    assert providers["github"].options["openai_chat_path"] == "/chat/completions"
    assert providers["github"].accounts[0].origin == "${GITHUB_TOKEN}"
    assert providers["cloudflare"].options == {"account_id": "acc123"}


def test_its_time_for_everything_is_to_the_first_byte_and_between_two(read: Reader) -> None:
    groq = read(taken()).providers["groq"]
    assert (groq.timeouts.first_byte, groq.timeouts.idle, groq.pool.keepalive) == (45, 45, 20)


def test_names_lose_the_providers_and_limits_that_are_absent_are_none(read: Reader) -> None:
    models = read(taken()).models
    assert {name: model.upstream_model for name, model in models.items()} == {
        "groq/llama-3.3-70b-versatile": "llama-3.3-70b-versatile",
        "google/gemini-2.0-flash": "gemini-2.0-flash",
        "github/gpt-4o-mini": "gpt-4o-mini",
        "cf/meta/llama-3-8b": "@cf/meta/llama-3-8b",
    }
    assert models["groq/llama-3.3-70b-versatile"].limits == {
        "rpm": Limit(30, 30),
        "rph": Limit(500, 500),
        "rpd": Limit(1000, 1000),
    }
    assert set(models["github/gpt-4o-mini"].limits) & set(LIMIT_KINDS) == set()
    assert models["groq/llama-3.3-70b-versatile"].context_window == 2000


def test_small_and_big_choose_by_priority(read: Reader) -> None:
    routes = read(taken()).subscriptions["ai-proxy"].routes
    assert routes["SMALL"].strategy is Strategy.PRIORITY
    assert routes["SMALL"].targets == (
        Target("groq/llama-3.3-70b-versatile", None, 1, 1),
        Target("github/gpt-4o-mini", None, 1, 0),
        Target("cf/meta/llama-3-8b", None, 1, 0),
    )
    assert [target.model for target in routes["BIG"].targets] == ["google/gemini-2.0-flash"]
    assert routes["*"].targets == ()


def test_the_token_of_all_is_a_key(read: Reader) -> None:
    (key,) = read(taken()).keys.values()
    assert (key.user, key.name) == ("ai-proxy", "AUTH_TOKEN")


def test_the_first_line_says_what_was_taken_over() -> None:
    assert taken().notes[:2] == [
        "taken over from ai-proxy's configuration provider-config.yaml: 4 providers, 4 models, 1 user",
        "SMALL chooses among 3 models: by priority, by size, least recently used",
    ]


def test_a_name_that_is_there_twice_reaches_both(read: Reader) -> None:
    found = take_entries(entry(token="one"), entry(token="two", priority=3))
    document = read(found)
    assert list(document.models) == ["a/model-one", "a/model-one-2"]
    assert document.models["a/model-one-2"].upstream_model == "model-one"
    assert document.models["a/model-one-2"].provider == "a-2"
    assert document.subscriptions["ai-proxy"].routes["a/model-one"].targets == (
        Target("a/model-one", None, 1, 0),
        Target("a/model-one-2", None, 1, 3),
    )


def test_gigachat_needs_no_address() -> None:
    types = {**TYPES, "gigachat": "https://gigachat.devices.sberbank.ru/api"}
    found = take(
        [{"name": "gigachat/GigaChat", "provider": "gigachat", "token": "id:secret"}], "it", types, {}
    )
    assert found.tree["providers"]["gigachat"] == {
        "type": "gigachat",
        "api_key": "id:secret",
        "options": {"scope": "GIGACHAT_API_CORP"},
    }


@pytest.mark.parametrize(
    ("url", "provider"),
    [
        ("https://api.cohere.com/v2/chat", {"base_url": "https://api.cohere.com/compatibility/v1"}),
        ("https://cohere.local/v1", {"base_url": "https://cohere.local/v1"}),
    ],
)
def test_cohere_is_reached_by_its_other_surface_where_its_own_is_not_spoken(
    url: str, provider: dict[str, str]
) -> None:
    types = {name: base for name, base in TYPES.items() if name != "cohere"}
    found = take([entry(name="cohere/command-r", provider="cohere", url=url)], "it", types, {})
    assert found.tree["providers"]["cohere"] == {"type": "openai_compatible", **provider}


def test_googles_surface_for_openai_clients_becomes_the_native_one() -> None:
    url = "http://127.0.0.1:9/v1beta/openai/chat/completions"
    found = take_entries(entry(provider="google", url=url, token="k"))
    assert found.tree["providers"]["google"] == {
        "type": "google_ai_studio",
        "base_url": "http://127.0.0.1:9/v1beta",
        "api_key": "k",
    }


@pytest.mark.parametrize(
    ("wrong", "note"),
    [
        ("text", "models[1]: no table, left out"),
        ({"provider": "a"}, "models[1]: has no name, left out"),
        (entry(name="a/*"), "models[1] (a/*): has a star in its name, left out"),
        (entry(url="nowhere"), "models[1] (a/model-one): has no url that is one, left out"),
        (
            entry(provider="huggingface", url="https://router.huggingface.co/hf-inference/models/a/b"),
            "models[1] (a/model-one): router.huggingface.co speaks nothing but chat to all alike,"
            " and /hf-inference/models/a/b is none, left out",
        ),
        (
            entry(provider="airforce", url="https://api.airforce/v1/imagine2"),
            "models[1] (a/model-one): the protocol of api.airforce/v1/imagine2 is not spoken here, left out",
        ),
        (
            entry(name="b", model_size="small"),
            "models[1] (b): model_size is 'small', which is neither SMALL nor BIG; reached by its name alone",
        ),
        (
            entry(name="b", model_size="BIG"),
            "models[1] (b): without max_request_length it is an image model, reached by its name alone",
        ),
        (entry(name="b", tocken="x"), "models[1] (b): tocken means nothing to that gateway, left out"),
    ],
)
def test_what_cannot_be_taken_over_is_one_line(wrong: object, note: str) -> None:
    assert note in take_entries(entry(), wrong).notes


def test_nothing_at_all_is_a_mistake() -> None:
    with pytest.raises(NothingToTake, match="no entry of models can be taken over"):
        take_entries({"provider": "a"})
