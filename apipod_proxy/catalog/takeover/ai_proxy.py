"""ai-proxy's ``provider-config.yaml``: a list of models, each with its endpoint, token and limits; SMALL and BIG choose among them."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qs, urlsplit, urlunsplit

from apipod_proxy.catalog.takeover.builder import (
    CHAT_PATH,
    COMPATIBLE,
    Builder,
    NothingToTake,
    Taken,
    Tree,
    limits,
    text_of,
    unused,
    whole,
)

NAME = "ai-proxy"
SIZES = ("SMALL", "BIG")
COHERE_COMPATIBLE = "https://api.cohere.com/compatibility/v1"
GIGACHAT_SCOPE = "GIGACHAT_API_CORP"
"""The only one that it knew."""

KNOWN = frozenset(
    {
        *("name", "provider", "priority", "url", "token", "max_request_length", "model_size"),
        *("requests_per_minute", "requests_per_hour", "requests_per_day", "http_client_config"),
    }
)
_OWN_IMAGE_PROTOCOL = ("airforce", "aimlapi")
_IMAGE_PATH = "/images/generations"


def take(entries: list[object], what: str, types: Mapping[str, str], environment: Mapping[str, str]) -> Taken:
    """The catalog of the list under ``models``; raises NothingToTake."""
    builder = Builder(types, environment)
    reader = _Reader(builder)
    for place, entry in enumerate(entries):
        reader.read(place, entry)
    if not builder.models:
        raise NothingToTake("; ".join(["no entry of models can be taken over", *builder.notes[:3]]))
    routes: Tree = {name: route for name, route in reader.routes.items() if len(route["targets"]) > 1}
    for size in SIZES:
        targets = reader.sizes[size]
        if targets:
            routes[size] = {"strategy": "priority", "targets": targets}
            count = len(targets)
            builder.note(
                f"{size} chooses among {count} model{'s' * (count != 1)}: by priority, by size, least recently used"
            )
    builder.subscriptions[NAME] = {"routes": {**routes, "*": {}}}
    builder.client(NAME)
    return builder.taken(what)


class _Reader:
    def __init__(self, builder: Builder) -> None:
        self._builder = builder
        self.sizes: dict[str, list[Tree]] = {size: [] for size in SIZES}
        self.routes: dict[str, Tree] = {}

    def read(self, place: int, entry: object) -> None:
        builder = self._builder
        path = f"models[{place}]"
        if not isinstance(entry, dict):
            builder.note(f"{path}: no table, left out")
            return
        name, vendor, url = (text_of(entry.get(field)) for field in ("name", "provider", "url"))
        path = f"{path} ({name})" if name else path
        for field in entry:
            if field not in KNOWN:
                builder.note(f"{path}: {field} means nothing to that gateway, left out")
        reason = self._unfit(name, vendor, url)
        if reason:
            builder.note(f"{path}: {reason}, left out")
            return
        reached = _reach(builder, vendor, url, text_of(entry.get("token")))
        reached.provider.update(_times(entry.get("http_client_config")))
        size = whole(entry.get("max_request_length"))
        model: Tree = {
            "provider": builder.provider(vendor or urlsplit(url).hostname or COMPATIBLE, reached.provider),
            "upstream_model": reached.model or _upstream_name(name, vendor),
            **limits(
                rpm=entry.get("requests_per_minute"),
                rph=entry.get("requests_per_hour"),
                rpd=entry.get("requests_per_day"),
            ),
        }
        if size is not None:
            # It counted bytes of JSON; four of them are about a token.
            model["context_window"] = max(1, size // 4)
        own = unused(name, builder.models)
        builder.models[own] = model
        target = {"model": own, "priority": whole(entry.get("priority")) or 0}
        self.routes.setdefault(name, {"strategy": "priority", "targets": []})["targets"].append(target)
        if own != name:
            builder.note(f"{path}: the name is there twice; this one is '{own}', and '{name}' tries both")
        self._sort_in(path, text_of(entry.get("model_size")), size, target)

    def _unfit(self, name: str, vendor: str, url: str) -> str:
        """Why an entry cannot be taken over."""
        if not name:
            return "has no name"
        if "*" in name:
            return "has a star in its name"
        if vendor == "gigachat":
            return "" if "gigachat" in self._builder.types else "no provider type for gigachat"
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            return "has no url that is one"
        if vendor in _OWN_IMAGE_PROTOCOL or "/ai/run" in parts.path or "api-inference" in parts.hostname:
            return f"the protocol of {parts.hostname}{parts.path} is not spoken here"
        if parts.hostname == self._builder.host_of("huggingface") and not parts.path.endswith(CHAT_PATH):
            return f"{parts.hostname} speaks nothing but chat to all alike, and {parts.path} is none"
        return ""

    def _sort_in(self, path: str, model_size: str, size: int | None, target: Tree) -> None:
        if model_size in SIZES and size is not None:
            self.sizes[model_size].append(target)
        elif model_size in SIZES:
            self._builder.note(
                f"{path}: without max_request_length it is an image model, reached by its name alone"
            )
        elif model_size:
            self._builder.note(
                f"{path}: model_size is {model_size!r}, which is neither SMALL nor BIG; reached by its name alone"
            )


class _Reached:
    """A provider, and the model's name where the URL holds it."""

    __slots__ = ("model", "provider")

    def __init__(self, provider: Tree, model: str = "") -> None:
        self.provider = provider
        self.model = model


def _reach(builder: Builder, vendor: str, url: str, token: str) -> _Reached:
    parts = urlsplit(url)
    kind = "gigachat" if vendor == "gigachat" else builder.kind_of(vendor, url)
    key: Tree = {"api_key": token} if token else {}
    bare = urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/"), "", ""))
    if kind == "gigachat":
        # The address in the file was never used.
        return _Reached({"type": kind, **key, "options": {"scope": GIGACHAT_SCOPE}})
    if kind == "google_ai_studio" and ":" in parts.path.rpartition("/")[2]:
        base, _, call = bare.partition("/models/")
        query_key = parse_qs(parts.query).get("key", [""])[0]
        google: Tree = {"api_key": query_key or token} if query_key or token else {}
        return _Reached({"type": kind, **builder.reach(kind, base), **google}, call.partition(":")[0])
    if kind == "google_ai_studio":
        # Its surface for OpenAI's clients; the native one can do more.
        base = bare.removesuffix(CHAT_PATH).removesuffix("/openai")
        return _Reached({"type": kind, **builder.reach(kind, base), **key})
    if vendor == "cohere" and kind == COMPATIBLE:
        base = COHERE_COMPATIBLE if parts.hostname == "api.cohere.com" else bare
        builder.note("cohere is reached by its surface for OpenAI's clients")
        return _Reached({"type": kind, "base_url": base, **key})
    base = bare.removesuffix(CHAT_PATH).removesuffix(_IMAGE_PATH)
    if kind == "cohere":
        base = bare.removesuffix("/chat")
    if kind == "cloudflare" and "/accounts/" in base and parts.hostname == builder.host_of(kind):
        account = base.partition("/accounts/")[2].partition("/")[0]
        return _Reached({"type": kind, **key, "options": {"account_id": account}})
    return _Reached({"type": kind, **builder.reach(kind, base), **key})


def _upstream_name(name: str, vendor: str) -> str:
    """The name without the provider's in front of it; Cloudflare's names begin with an @."""
    bare = name.removeprefix(f"{vendor}/") if vendor else name
    return f"@{bare}" if vendor == "cloudflare" and bare.startswith(("cf/", "hf/")) else bare


def _times(config: object) -> Tree:
    """Its one time for everything becomes the time to the first byte and between two bytes."""
    if not isinstance(config, dict):
        return {}
    tree: Tree = {}
    seconds = whole(config.get("timeout_seconds"))
    if seconds is not None:
        tree["timeouts"] = {"first_byte": min(seconds, 86400), "idle": min(seconds, 86400)}
    keep = whole(config.get("idle_conn_timeout_seconds"))
    if keep is not None:
        tree["pool"] = {"keepalive": min(keep, 86400)}
    return tree
