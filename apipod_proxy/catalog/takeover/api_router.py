"""The API router's ``models.json`` with its ``credentials.json``: every request goes to any pair of key and model, all alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apipod_proxy.catalog.takeover.builder import (
    Builder,
    NothingToTake,
    Taken,
    Tree,
    literal,
    text_of,
    unused,
)
from apipod_proxy.catalog.takeover.credentials import keys_by_platform
from apipod_proxy.catalog.takeover.environment import (
    CONFIG_ENCRYPTION_KEY,
    KEY_NAMES,
    client_timeout,
    key_names,
)

NAME = "api-router"

VENDORS: Mapping[str, str] = {
    "openai": "https://api.openai.com/v1",
    "gemini": "https://generativelanguage.googleapis.com/v1beta/openai",
    "anthropic": "https://api.anthropic.com/v1",
}
"""Where they are, for a file that is a list alone."""

DEFAULT_TIMEOUT = 1200
"""Seconds of CLIENT_TIMEOUT unless it is set."""

FLAGS: Mapping[str, tuple[str, ...]] = {
    "support_image": ("vision", "documents"),
    "support_tools": ("tools",),
    "support_streaming": ("streaming",),
}
"""What a flag that is not set takes away."""

CAPABILITIES = ("tools", "vision", "audio", "documents", "thinking", "structured_output", "streaming")


def take(
    node: object,
    what: str,
    credentials: str | None,
    types: Mapping[str, str],
    environment: Mapping[str, str],
) -> Taken:
    """The catalog of ``models.json``, an object or a bare list; ``credentials`` is the text of the file beside it. Raises NothingToTake."""
    builder = Builder(types, environment)
    vendors = dict(VENDORS)
    entries = node
    if isinstance(node, dict):
        entries = node.get("models")
        given = node.get("vendors")
        if isinstance(given, dict):
            vendors = {str(name): text_of(url) for name, url in given.items()}
    if not isinstance(entries, list) or not entries:
        raise NothingToTake("models.json names no models")
    keys = _keys(builder, credentials)
    providers = _Providers(builder, vendors, keys)
    targets: list[str] = []
    for place, entry in enumerate(entries):
        name = _model(builder, providers, f"models[{place}]", entry)
        if name and name not in targets:
            targets.append(name)
    if not targets:
        raise NothingToTake("; ".join(["no model can be taken over", *builder.notes[:3]]))
    pinned = {
        f"{tree['provider']}/{tree['upstream_model']}": {"targets": [{"model": name}]}
        for name, tree in builder.models.items()
    }
    builder.subscriptions[NAME] = {
        "routes": {**pinned, "*": {"strategy": "even", "targets": [{"model": name} for name in targets]}}
    }
    builder.note(
        "as before, any name of a model is answered by any pair of key and model, all alike; VENDOR/MODEL asks for one model"
    )
    builder.client(NAME)
    return builder.taken(what)


def _keys(builder: Builder, credentials: str | None) -> dict[str, list[Tree]]:
    """Accounts by vendor: of the file where it can be read, else of the environment."""
    accounts: dict[str, list[Tree]] = {}
    if credentials is not None and credentials.strip():
        key = builder.environment.get(CONFIG_ENCRYPTION_KEY, "")
        try:
            found = keys_by_platform(credentials, key, builder.notes)
        except NothingToTake as reason:
            if not any(key_names(vendor, builder.environment) for vendor in KEY_NAMES):
                raise
            builder.note(f"{reason.problem}; the keys of the environment are used")
            found = {}
        accounts = {
            vendor: [
                {"name": f"{vendor}-{place}", "api_key": literal(value)}
                for place, value in enumerate(values, 1)
            ]
            for vendor, values in found.items()
        }
    for vendor in KEY_NAMES:
        names = key_names(vendor, builder.environment)
        if names and vendor not in accounts:
            accounts[vendor] = [{"name": name, "api_key": f"${{{name}}}"} for name in names]
            builder.note(f"{vendor}: keys of the environment: {', '.join(names)}")
        elif names:
            builder.note(
                f"{vendor}: {', '.join(names)} of the environment left out, because credentials.json has keys"
            )
    return accounts


class _Providers:
    """Vendors become providers when a model needs them."""

    def __init__(self, builder: Builder, vendors: Mapping[str, str], keys: Mapping[str, list[Tree]]) -> None:
        self._builder = builder
        self._vendors = vendors
        self._keys = keys
        self._seconds = client_timeout(builder.environment, builder.notes) or DEFAULT_TIMEOUT

    def of(self, vendor: str) -> str | None:
        """The name of the provider; None where there is no address or no key for it."""
        url = (self._vendors.get(vendor) or VENDORS.get(vendor, "")).rstrip("/")
        accounts = self._keys.get(vendor)
        if not url or not accounts:
            return None
        kind = self._builder.kind_of(vendor, url)
        base = url.removesuffix("/openai") if kind == "google_ai_studio" else url
        tree: dict[str, Any] = {"type": kind, **self._builder.reach(kind, base), "accounts": accounts}
        if self._seconds:
            tree["timeouts"] = {"first_byte": self._seconds, "idle": self._seconds}
        return self._builder.provider(vendor, tree)


def _model(builder: Builder, providers: _Providers, path: str, entry: object) -> str | None:
    """Adds the model, and gives its name; None where it was left out."""
    if not isinstance(entry, dict):
        builder.note(f"{path}: no table, left out")
        return None
    vendor, upstream = text_of(entry.get("vendor")), text_of(entry.get("model"))
    if not vendor or not upstream or "*" in upstream:
        builder.note(f"{path}: no vendor or no model, left out")
        return None
    provider = providers.of(vendor)
    if provider is None:
        builder.note(f"{path} ({upstream}): no key or no address for the vendor {vendor}, left out")
        return None
    tree: Tree = {"provider": provider, "upstream_model": upstream, **_capabilities(entry.get("config"))}
    for name, there in builder.models.items():
        if (there["provider"], there["upstream_model"]) == (provider, upstream):
            builder.note(f"{path} ({upstream}): there already, left out")
            return name
    name = upstream if upstream not in builder.models else unused(f"{provider}/{upstream}", builder.models)
    builder.models[name] = tree
    return name


def _capabilities(config: object) -> Tree:
    """Without ``config`` everything; with it, a flag that is not there is false."""
    if not isinstance(config, dict):
        return {}
    denied = {word for flag, words in FLAGS.items() if not _is_true(config.get(flag)) for word in words}
    return {"capabilities": [word for word in CAPABILITIES if word not in denied]} if denied else {}


def _is_true(value: object) -> bool:
    return value is True or str(value).lower() in ("true", "yes", "on")
