from __future__ import annotations

import pytest

from apipod_proxy.catalog.model import Provider, Snapshot, Strategy
from apipod_proxy.errors import Forbidden, UnknownModel
from apipod_proxy.route import index as index_module
from apipod_proxy.route.index import (
    Dropped,
    Plan,
    RouteIndex,
    allows,
    for_operation,
    is_for_operation,
    label_of,
    seed_of,
)
from tests.route.build import account, key, model, pool, provider, route, snapshot, star, target

PROVIDERS = [provider("openai"), provider("openrouter"), pool("pool", 2)]
MODELS = [
    model("gpt-4o", "openai"),
    model("sonnet", "pool", "claude-sonnet-4-5"),
    model("flash", "pool", "gemini-3-flash"),
    model("known", "openrouter", "meta/llama", price=(1, 2)),
]


def index(*routes_and_more: object, providers: list[Provider] | None = None) -> RouteIndex:
    routes = [entry for entry in routes_and_more if not isinstance(entry, Snapshot)]
    return RouteIndex(snapshot(providers or PROVIDERS, MODELS, routes))  # type: ignore[arg-type]


def up(plan: Plan) -> list[str]:
    """``provider/upstream model`` of each option."""
    return [f"{option.provider.name}/{option.pairs[0].candidate.upstream_model}" for option in plan.options]


def test_a_route_of_the_name_comes_before_every_star() -> None:
    routes = index(
        route("gpt-4o", target("flash")), route("gpt*", target("sonnet")), route("*", target("gpt-4o"))
    )
    assert up(routes.resolve("pro", "gpt-4o")) == ["pool/gemini-3-flash"]


def test_the_longest_star_prefix_comes_before_shorter_ones() -> None:
    routes = index(
        route("open*", target("flash")),
        route("openrouter/*", star("openrouter")),
        route("*", target("gpt-4o")),
    )
    assert up(routes.resolve("pro", "openrouter/x-ai/grok-4:free")) == ["openrouter/x-ai/grok-4:free"]
    assert up(routes.resolve("pro", "opening")) == ["pool/gemini-3-flash"]
    assert up(routes.resolve("pro", "else")) == ["openai/gpt-4o"]


def test_what_the_star_stands_for_goes_up_unchanged() -> None:
    plan = index(route("openrouter/*", star("openrouter"))).resolve("pro", "openrouter/A b/ü:free@1")
    assert up(plan) == ["openrouter/A b/ü:free@1"]
    assert plan.options[0].model.name == "openrouter/A b/ü:free@1"
    assert plan.route == "openrouter/*"


def test_a_star_stands_for_at_least_one_character() -> None:
    with pytest.raises(UnknownModel):
        index(route("openrouter/*", star("openrouter"))).resolve("pro", "openrouter/")


def test_a_bare_star_with_a_provider_passes_the_whole_name() -> None:
    assert up(index(route("*", star("openrouter"))).resolve("pro", "a/b")) == ["openrouter/a/b"]


def test_a_star_that_reaches_a_model_of_the_catalog_keeps_its_price_and_limits() -> None:
    plan = index(route("openrouter/*", star("openrouter"))).resolve("pro", "openrouter/meta/llama")
    assert plan.options[0].model is MODELS[3]


def test_a_bare_star_with_targets_catches_names_of_models_too() -> None:
    assert up(index(route("*", target("flash"))).resolve("pro", "gpt-4o")) == ["pool/gemini-3-flash"]


def test_an_empty_star_means_every_model_by_its_own_name() -> None:
    routes = index(route("*"), route("x", target("flash")))
    assert up(routes.resolve("pro", "gpt-4o")) == ["openai/gpt-4o"]
    assert routes.resolve("pro", "gpt-4o").route == "gpt-4o"
    with pytest.raises(UnknownModel):
        routes.resolve("pro", "nothing")


def test_no_routes_mean_every_model_by_its_own_name() -> None:
    assert up(index().resolve("pro", "sonnet")) == ["pool/claude-sonnet-4-5"]
    with pytest.raises(UnknownModel):
        index().resolve("pro", "claude-sonnet-4-5")


def test_routes_without_a_bare_star_hide_all_other_names() -> None:
    with pytest.raises(UnknownModel) as raised:
        index(route("x", target("flash"))).resolve("pro", "gpt-4o")
    assert raised.value.model == "gpt-4o"
    assert raised.value.status == 404


def test_a_provider_is_reached_by_a_prefix_only_where_a_route_says_so() -> None:
    with pytest.raises(UnknownModel):
        index().resolve("pro", "openrouter/meta/llama")


def test_an_empty_route_of_a_prefix_means_the_models_below_it() -> None:
    routes = index(route("gpt*"))
    assert up(routes.resolve("pro", "gpt-4o")) == ["openai/gpt-4o"]
    with pytest.raises(UnknownModel):
        routes.resolve("pro", "sonnet")


def test_an_inactive_subscription_may_ask_for_nothing() -> None:
    routes = RouteIndex(snapshot(PROVIDERS, MODELS, active=False))
    with pytest.raises(Forbidden):
        routes.resolve("pro", "gpt-4o")
    assert routes.names("pro") == []
    with pytest.raises(Forbidden):
        routes.resolve("no such", "gpt-4o")


def test_what_is_inactive_or_missing_is_left_out_with_its_reason() -> None:
    catalog = snapshot(
        [
            provider("on", account("on", "a", active=False), account("on", "b")),
            provider("off", active=False),
            provider("empty", account("empty", "a", active=False)),
        ],
        [
            model("good", "on"),
            model("resting", "on", active=False),
            model("switched-off", "off"),
            model("keyless", "empty"),
            model("orphan", "nobody"),
        ],
        [
            route(
                "x",
                *map(target, ["good", "resting", "switched-off", "keyless", "orphan", "typo"]),
                star("gone"),
            )
        ],
    )
    plan = RouteIndex(catalog).resolve("pro", "x")
    assert [pair.candidate.account.name for pair in plan.pairs] == ["b"]
    assert plan.dropped == (
        Dropped("resting", "is inactive"),
        Dropped("switched-off", "its provider off is inactive"),
        Dropped("keyless", "its provider empty has no active account"),
        Dropped("orphan", "its provider is not in the catalog"),
        Dropped("typo", "is not in the catalog"),
        Dropped("gone/x", "its provider is not in the catalog"),
    )


def test_a_route_with_nothing_live_behind_it_is_an_unknown_model() -> None:
    catalog = snapshot([provider("off", active=False)], [model("m", "off")], [route("x", target("m"))])
    with pytest.raises(UnknownModel):
        RouteIndex(catalog).resolve("pro", "x")


def test_an_inactive_model_is_not_reached_through_a_star() -> None:
    catalog = snapshot([provider("p")], [model("m", "p", "up", active=False)], [route("p/*", star("p"))])
    with pytest.raises(UnknownModel):
        RouteIndex(catalog).resolve("pro", "p/up")


def test_a_provider_without_accounts_serves_without_a_key() -> None:
    bare = Provider("id", "local", "ollama", "http://127.0.0.1:11434", ())
    plan = RouteIndex(snapshot([bare], [model("m", "local")])).resolve("pro", "m")
    assert plan.pairs[0].candidate.account.api_key == ""


def test_a_model_that_stands_in_a_route_twice_is_one_target_of_both_weights() -> None:
    plan = index(route("x", target("flash", 1), target("sonnet", 2), target("flash", 3))).resolve("pro", "x")
    assert [(option.model.name, option.weight) for option in plan.options] == [("flash", 4), ("sonnet", 2)]
    assert plan.bounds == (4, 6)


def test_a_key_may_use_only_the_models_that_it_names() -> None:
    routes = index(route("*"), route("openrouter/*", star("openrouter")))
    limited = key(models=["gpt-4o", "openrouter/*"])
    assert routes.resolve("pro", "gpt-4o", limited).options
    assert routes.resolve("pro", "openrouter/any", limited).options
    with pytest.raises(Forbidden) as raised:
        routes.resolve("pro", "sonnet", limited)
    assert raised.value.status == 403
    assert "sonnet" in str(raised.value)


def test_a_key_may_use_only_the_providers_that_it_names() -> None:
    routes = index(route("x", target("gpt-4o"), target("flash")))
    assert up(routes.resolve("pro", "x", key(providers=["pool"]))) == ["pool/gemini-3-flash"]
    with pytest.raises(Forbidden):
        routes.resolve("pro", "x", key(providers=["openrouter"]))


def test_a_vendor_narrows_the_candidates_to_one_provider() -> None:
    routes = index(route("x", target("gpt-4o"), target("flash")))
    plan = routes.resolve("pro", "x", vendor="pool")
    assert up(plan) == ["pool/gemini-3-flash"]
    assert len(plan.pairs) == 2
    assert list(plan.bounds) == [1]
    assert routes.resolve("pro", "x", vendor="pool") is plan
    assert up(routes.resolve("pro", "x", key(), vendor="openai")) == ["openai/gpt-4o"]


@pytest.mark.parametrize("vendor", ["openrouter", "no such", ""])
def test_a_vendor_that_does_not_serve_the_model_is_a_404(vendor: str) -> None:
    with pytest.raises(UnknownModel, match=f"The provider '{vendor}' does not serve 'x' here"):
        index(route("x", target("gpt-4o"))).resolve("pro", "x", vendor=vendor)


def test_a_vendor_that_the_key_may_not_use_is_a_403() -> None:
    with pytest.raises(Forbidden):
        index(route("x", target("gpt-4o"))).resolve("pro", "x", key(providers=["pool"]), vendor="openai")


def test_names_that_clients_make_up_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "MAX_STAR_PLANS", 10)
    monkeypatch.setattr(index_module, "MAX_NARROWED", 10)
    routes = index(route("openrouter/*", star("openrouter")), route("x", target("gpt-4o")))
    own = routes.resolve("pro", "x")
    for number in range(100):
        routes.resolve("pro", f"openrouter/{number}", vendor="openrouter")
    table = routes._tables["pro"]
    assert len(table.star_plans) <= 10
    assert len(routes._narrowed) <= 10
    assert routes.resolve("pro", "x") is own


def test_a_made_up_name_that_looks_like_a_catalog_model_is_not_taken_for_it() -> None:
    catalog = snapshot(
        [provider("p"), provider("q")],
        [model("p/up", "q", "other")],
        [route("p/up", target("p/up")), route("p/*", star("p")), route("via/*", star("p"))],
    )
    routes = RouteIndex(catalog)
    assert up(routes.resolve("pro", "p/up")) == ["q/other"]
    assert up(routes.resolve("pro", "via/up")) == ["p/up"]
    assert up(routes.resolve("pro", "p/up")) == ["q/other"]


def test_the_list_holds_what_may_be_asked_for_by_name() -> None:
    routes = index(route("fast", target("flash")), route("openrouter/*", star("openrouter")))
    assert [entry.name for entry in routes.names("pro")] == ["fast", "openrouter/meta/llama"]
    everything = index(route("fast", target("flash")), route("*"))
    assert [entry.name for entry in everything.names("pro")] == ["fast", "flash", "gpt-4o", "known", "sonnet"]
    assert [entry.name for entry in index().names("pro", key(models=["sonnet"]))] == ["sonnet"]
    caught = index(route("*", target("flash")))
    assert [entry.name for entry in caught.names("pro")] == ["flash"]
    below = index(route("gpt*"))
    assert [entry.name for entry in below.names("pro")] == ["gpt-4o"]


def test_the_list_leaves_out_what_is_not_served() -> None:
    catalog = snapshot([provider("p", active=False)], [model("m", "p")])
    assert RouteIndex(catalog).names("pro") == []


def test_the_list_tells_the_sizes_and_abilities_behind_a_name() -> None:
    catalog = snapshot(
        [provider("p"), provider("q")],
        [
            model("small", "p", capabilities=["tools"], context=1000, output=100),
            model("large", "q", capabilities=["vision"], context=9000),
        ],
        [route("x", target("small"), target("large"), strategy=Strategy.EVEN)],
    )
    entry = RouteIndex(catalog).names("pro")[0]
    assert entry.providers == ("p", "q")
    assert (entry.ability.context_window, entry.ability.max_output) == (9000, 100)


def test_an_allowed_entry_may_end_in_a_star() -> None:
    assert allows(["a", "b*"], "a")
    assert allows(["a", "b*"], "bc")
    assert not allows(["a", "b*"], "ab")
    assert not allows([], "a")


def test_the_seed_of_an_account_is_the_same_in_every_process() -> None:
    assert seed_of("account-1") == 3802948186578174757
    assert seed_of("account-1") != seed_of("account-2")


def test_a_plan_for_an_operation_has_ids_of_its_own_and_only_who_serves_it() -> None:
    plan = index(route("x", target("gpt-4o"), target("sonnet", weight=3))).resolve("pro", "x")
    other = for_operation(plan, "embeddings", lambda option: option.provider.name == "pool")
    assert up(other) == ["pool/claude-sonnet-4-5"]
    assert [list(other.bounds), len(other.pairs)] == [[3], 2]
    model = other.options[0].model
    assert model.name == "sonnet"
    for pair in other.pairs:
        assert pair.candidate.model is model
        assert pair.key == (pair.candidate.account.id, model.id)
        assert is_for_operation(pair.candidate)
        assert label_of(pair.candidate) == "sonnet (embeddings)"
    assert label_of(plan.pairs[0].candidate) == "gpt-4o"
    assert not any(is_for_operation(pair.candidate) for pair in plan.pairs)
    assert not {pair.key for pair in plan.pairs} & {pair.key for pair in other.pairs}
    assert not for_operation(plan, "speech", lambda option: False).pairs
