"""A catalog under construction, and lines for the operator on what was and what could not be taken over."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import orjson

from apipod_proxy.catalog.references import escape
from apipod_proxy.catalog.takeover.environment import AUTH_TOKEN, retries_in

Tree = dict[str, Any]

CHAT_PATH = "/chat/completions"
_VERSION = re.compile(r"/v\d+(?:(?:alpha|beta)\d*)?$")

COMPATIBLE = "openai_compatible"

KINDS: Mapping[str, str] = {
    "google": "google_ai_studio",
    "gemini": "google_ai_studio",
    "antigravity_proxy": "antigravity",
    "cliproxy": "antigravity",
    "nvidia": "nvidia_nim",
    "grok": "xai",
}
"""What other gateways call a provider, where it is not the name of its type."""

HOSTS: Mapping[str, str] = {
    "openrouter.ai": "openrouter",
    "integrate.api.nvidia.com": "nvidia_nim",
    "generativelanguage.googleapis.com": "google_ai_studio",
}
"""Providers that were reached as if they were OpenAI."""


class Taken(NamedTuple):
    """``tree`` as a catalog file has it; ``notes`` are lines for the operator, the first one says what was recognised."""

    tree: Tree
    notes: list[str]

    def text(self) -> str:
        """The catalog file."""
        return orjson.dumps(self.tree, option=orjson.OPT_INDENT_2).decode()


class NothingToTake(Exception):
    """``problem`` says why no catalog can be made of it."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


class Builder:
    """``types``: the provider types there are, each with its default base URL; ``environment``: what ``${NAME}`` reads."""

    def __init__(self, types: Mapping[str, str], environment: Mapping[str, str]) -> None:
        self.types = types
        self.environment = environment
        self.notes: list[str] = []
        self.providers: dict[str, Tree] = {}
        self.models: dict[str, Tree] = {}
        self.subscriptions: dict[str, Tree] = {}
        self.users: dict[str, Tree] = {}
        self.keys: dict[str, str] = {}
        """Whose each client key is, by its digest in hexadecimal."""
        self._same: dict[bytes, str] = {}
        self._retries = retries_in(environment, self.notes)

    def note(self, line: str) -> None:
        self.notes.append(line)

    def provider(self, name: str, tree: Tree) -> str:
        """Adds a provider, and gives the name that it has; one that is there already, with the same key, is used again."""
        if self._retries:
            tree = {**tree, "retries": self._retries}
        content = orjson.dumps([name, tree], option=orjson.OPT_SORT_KEYS)
        if content not in self._same:
            self._same[content] = unused(name.replace("/", "-"), self.providers)
            self.providers[self._same[content]] = tree
        return self._same[content]

    def kind_of(self, vendor: str, url: str) -> str:
        """The type for what another gateway calls ``vendor``, reached at ``url``."""
        host = urlsplit(url).hostname or ""
        kind = KINDS.get(vendor.lower(), vendor.lower())
        if kind == "openai" and host != self.host_of("openai"):
            # OpenAI's own parameters are not for everybody who speaks its dialect.
            kind = HOSTS.get(host, COMPATIBLE)
        return kind if kind in self.types else HOSTS.get(host, COMPATIBLE)

    def host_of(self, kind: str) -> str:
        return urlsplit(self.types.get(kind, "")).hostname or ""

    def reach(self, kind: str, base: str) -> Tree:
        """``base_url`` and options of a Chat endpoint at ``base`` + /chat/completions; empty where the type's default is meant."""
        if urlsplit(base).hostname == self.host_of(kind) and kind != "cloudflare":
            return {}
        if kind in ("openai", COMPATIBLE) and not _VERSION.search(base):
            # No version in the path: what the type would add is not there.
            return {"base_url": base, "options": {"openai_chat_path": CHAT_PATH, "models_path": "/models"}}
        return {"base_url": base}

    def claim_key(self, digest: str, holder: str) -> str:
        """Who has the key already; "" where nobody does, and from now on ``holder``."""
        there = self.keys.get(digest, "")
        self.keys.setdefault(digest, holder)
        return there

    def client(self, name: str) -> None:
        """A user for those who shared the one token of the environment."""
        keys = []
        if self.environment.get(AUTH_TOKEN):
            keys.append({"key": f"${{{AUTH_TOKEN}}}", "name": AUTH_TOKEN})
            self.note(f"clients keep their key, {AUTH_TOKEN} of the environment")
        else:
            self.note(
                f"{AUTH_TOKEN} is not in the environment, so no client key was made; make one with:"
                f" apipod-proxy keys create NAME --user {name}"
            )
        self.users[name] = {"subscription": name, "keys": keys}

    def taken(self, what: str) -> Taken:
        """The whole; ``what`` says what it was made of."""
        counts = (("provider", self.providers), ("model", self.models), ("user", self.users))
        summary = ", ".join(f"{len(found)} {word}{'s' * (len(found) != 1)}" for word, found in counts)
        tree = {
            "providers": self.providers,
            "models": self.models,
            "subscriptions": self.subscriptions,
            "users": self.users,
        }
        return Taken(tree, [f"taken over from {what}: {summary}", *self.notes])


def unused(name: str, taken: Iterable[str]) -> str:
    """``name``, with a number behind it if it is taken."""
    names = set(taken)
    candidate, number = name, 1
    while candidate in names:
        number += 1
        candidate = f"{name}-{number}"
    return candidate


def literal(text: str) -> str:
    """``text`` that is no reference to the environment, whatever it looks like."""
    return escape(text.strip())


def whole(value: object) -> int | None:
    """A number that was written as one or as text; None where it is absent, zero or none at all."""
    try:
        number = int(float(str(value).replace("_", "")))
    except (ValueError, OverflowError):
        return None
    return number if number > 0 else None


def text_of(value: object) -> str:
    """A scalar as text; "" for what is none."""
    return str(value).strip() if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


def limits(**numbers: object) -> Tree:
    """``limits`` of the numbers that say something; zero and nothing mean none."""
    found = {kind: number for kind, value in numbers.items() if (number := whole(value)) is not None}
    return {"limits": found} if found else {}
