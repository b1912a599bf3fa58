"""What a provider type is: a record of data. Code stands beside it only where the protocol differs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import quote

from apipod_proxy.dialect import NO_QUIRKS, Quirks
from apipod_proxy.dialect.vocabulary import Call
from apipod_proxy.errors import BadRequest
from apipod_proxy.upstream.oauth import OAuth

VERSION_SEGMENT = re.compile(r"/v\d+(?:(?:alpha|beta)\d*)?$")
"""The last segment of a base URL that already names the API's version."""

VERSION_START = re.compile(r"^/v\d+(?:(?:alpha|beta)\d*)?(?=/)")
VERSION_INSIDE = re.compile(r"/v\d+(?:(?:alpha|beta)\d*)?/")


class Auth(StrEnum):
    """The header that carries the account's key."""

    BEARER = "authorization"
    X_API_KEY = "x-api-key"
    X_GOOG_API_KEY = "x-goog-api-key"
    API_KEY = "api-key"
    NONE = ""


@dataclass(frozen=True, slots=True)
class Surface:
    """Where one dialect or operation is spoken: its path, which may hold ``{model}``; ``stream_path`` where streams have their own."""

    path: str
    stream_path: str = ""
    quirks: Quirks = NO_QUIRKS


@dataclass(frozen=True, slots=True)
class ProviderType:
    """``surfaces``: dialect or operation → where it is spoken; the first dialect in it is the one used for clients of other dialects.

    ``base_url`` is the default. ``headers`` are sent with every request. ``forward`` names the client's headers that go up.
    ``signs``: whose thinking signatures it makes and accepts (the name of a dialect). ``quota_shared``: a 429 is about the whole account.
    ``auth_failure(status, body)`` tells a 403 that refuses the credential from one that refuses the request.
    """

    name: str
    base_url: str
    surfaces: Mapping[str, Surface]
    auth: Auth = Auth.BEARER
    headers: Mapping[str, str] = field(default_factory=dict)
    forward: frozenset[str] = frozenset()
    signs: str = ""
    quota_shared: bool = False
    auth_failure: Callable[[int, bytes], bool] | None = None
    instead: Callable[[Call, str], str | None] | None = None
    """(request of a client of another dialect, model) → the dialect in which it loses less than in the usual one, if there is any."""
    needs_key: bool = True
    open_models: bool = False
    """Its list of models is shown to anybody, so that it tells nothing of a key."""
    oauth: OAuth | None = None
    """Where tokens are bought with the key, for providers that take no key."""
    key_variable: str = ""
    """The environment variable that holds its key by custom."""

    def speaks(self, dialect: str) -> str | None:
        """The dialect to use for a client of ``dialect``: the same one where it can be, so that the answer is spliced."""
        if dialect in self.surfaces:
            return dialect
        return next((name for name in DIALECT_NAMES if name in self.surfaces), None)


DIALECT_NAMES = ("openai_chat", "anthropic", "gemini", "openai_responses", "cohere", "gigachat")
"""In the order of preference where a provider speaks several and none is the client's."""

MODEL = "{model}"
"""Stands in a path for the model's name."""

TRACE_HEADERS = frozenset({"traceparent", "tracestate"})


def join_url(base_url: str, path: str) -> str:
    """``base_url`` + ``path``, for bases with and without what the path begins with.

    A version at the end of the base stands for the one at the start of the path; segments that end the one and begin the other
    are there once.
    """
    base = base_url.rstrip("/")
    shared = [
        path[:end] for end in range(len(path)) if path[end] == "/" and end and base.endswith(path[:end])
    ]
    if shared:
        return base + path[len(shared[-1]) :]
    if VERSION_SEGMENT.search(base):
        if VERSION_START.match(path):
            return base + VERSION_START.sub("", path)
        if VERSION_INSIDE.search(path):
            base = VERSION_SEGMENT.sub("", base)
    return base + path


def fill_model(path: str, model: str) -> str:
    """``path`` with ``{model}`` replaced. What a client put into the name cannot leave its place in the URL: BadRequest where it tries to."""
    if MODEL not in path:
        return path
    if not {"", ".", ".."}.isdisjoint(model.split("/")):
        raise BadRequest("This cannot be the name of a model", "$.model")
    return path.replace(MODEL, quote(model, safe="/:@-._~"))
