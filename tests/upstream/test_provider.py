from __future__ import annotations

import pytest

from apipod_proxy.catalog.model import Account, Candidate, Model, Provider
from apipod_proxy.errors import BadRequest
from apipod_proxy.upstream.endpoint import Endpoint
from apipod_proxy.upstream.pool import Pool
from apipod_proxy.upstream.provider import fill_model, join_url
from apipod_proxy.upstream.providers import PROVIDER_TYPES
from apipod_proxy.upstream.wire import Upstream, request_target


@pytest.mark.parametrize(
    ("base", "path", "url"),
    [
        ("https://api.openai.com/v1", "/v1/chat/completions", "https://api.openai.com/v1/chat/completions"),
        ("https://api.openai.com", "/v1/chat/completions", "https://api.openai.com/v1/chat/completions"),
        ("https://api.openai.com/v1/", "/v1/chat/completions", "https://api.openai.com/v1/chat/completions"),
        ("https://x.test/openai/v1", "/openai/v1/embeddings", "https://x.test/openai/v1/embeddings"),
        ("https://x.test/openai", "/openai/v1/embeddings", "https://x.test/openai/v1/embeddings"),
        ("https://x.test/api/paas/v4", "/v1/chat/completions", "https://x.test/api/paas/v4/chat/completions"),
        ("https://x.test/v1beta", "/v1beta/models/m:g", "https://x.test/v1beta/models/m:g"),
        ("https://x.test/v1", "/anthropic/v1/messages", "https://x.test/anthropic/v1/messages"),
        ("https://x.test/anthropic", "/anthropic/v1/messages", "https://x.test/anthropic/v1/messages"),
    ],
)
def test_a_base_url_joins_with_and_without_what_the_path_begins_with(base: str, path: str, url: str) -> None:
    assert join_url(base, path) == url


@pytest.mark.parametrize("name", sorted(PROVIDER_TYPES))
def test_every_type_takes_its_own_address_with_and_without_the_version(name: str) -> None:
    kind = PROVIDER_TYPES[name]
    base = kind.base_url or "https://provider.test"
    for surface in kind.surfaces.values():
        plain = join_url(base, surface.path)
        assert plain.count("/v1/") <= 1
        assert join_url(f"{base}/", surface.path) == plain


def test_a_models_name_cannot_leave_its_place_in_the_path() -> None:
    assert fill_model("/v1beta/models/{model}:generateContent", "evil?x=1#y z\r\nq") == (
        "/v1beta/models/evil%3Fx%3D1%23y%20z%0D%0Aq:generateContent"
    )
    assert fill_model("/v1/chat/completions", "any") == "/v1/chat/completions"
    for name in ("../files", "a/../../b", "a//b", "./a", ""):
        with pytest.raises(BadRequest, match="name of a model"):
            fill_model("/v1beta/models/{model}:generateContent", name)


def test_the_clients_own_dialect_is_spoken_where_it_can_be() -> None:
    assert PROVIDER_TYPES["openrouter"].speaks("anthropic") == "anthropic"
    assert PROVIDER_TYPES["openrouter"].speaks("gemini") == "openai_chat"
    assert PROVIDER_TYPES["anthropic"].speaks("openai_chat") == "anthropic"
    assert PROVIDER_TYPES["google_ai_studio"].speaks("anthropic") == "gemini"


def test_what_an_option_put_into_a_url_fits_the_request_line() -> None:
    assert request_target("http://h/a b/é/日?x=1 2") == "/a%20b/%C3%A9/%E6%97%A5?x=1%202"
    assert request_target("https://h/v1/{model}:go/a%20b?k=v&l=[1]") == "/v1/{model}:go/a%20b?k=v&l=[1]"
    assert request_target("http://h") == "/"


@pytest.mark.parametrize(
    ("headers", "agents"),
    [({}, [b"ours/1"]), ({"User-Agent": "theirs/2"}, [b"theirs/2"]), ({"x-a": "é"}, [b"ours/1"])],
)
async def test_a_request_names_one_user_agent(headers: dict[str, str], agents: list[bytes]) -> None:
    upstream = Upstream(
        Pool(), PROVIDER_TYPES, lambda _provider, _account, url: Endpoint.of_url(url), "ours/1"
    )
    account = Account("a", "p", "a", "sk-1")
    provider = Provider("p", "p", "openai", "http://h", (account,), headers=headers)
    wire = upstream.wire(Candidate(provider, account, Model("m", "m", "p", "m"), "m"), "openai_chat")
    assert wire is not None
    lines = [line.partition(b": ") for line in wire.head.split(b"\r\n")]
    assert [value for name, _, value in lines if name == b"user-agent"] == agents
    await upstream.close()
