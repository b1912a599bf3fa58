"""Where a client's key stands in its request."""

from __future__ import annotations

from collections.abc import Mapping

BEARER = "authorization"
X_API_KEY = "x-api-key"
X_GOOG_API_KEY = "x-goog-api-key"
QUERY = "?key"

_OPENAI = (BEARER, X_API_KEY, X_GOOG_API_KEY)

PLACES: Mapping[str, tuple[str, ...]] = {
    "openai_chat": _OPENAI,
    "openai_responses": _OPENAI,
    "anthropic": (X_API_KEY, BEARER, X_GOOG_API_KEY),
    "gemini": (X_GOOG_API_KEY, QUERY, BEARER, X_API_KEY),
}
"""Per dialect, the places that are looked at, in order: first the one that its own SDKs use."""


def credential(dialect: str, headers: Mapping[str, str], query: Mapping[str, str]) -> str | None:
    """The key that the client sent, None if there is none. ``headers`` is asked for lower-case names.

    An ``Authorization`` of another scheme than Bearer is not ours: it hides no key that stands elsewhere.
    """
    for place in PLACES.get(dialect, _OPENAI):
        if place == QUERY:
            value = query.get("key")
        else:
            value = headers.get(place)
            if value and place == BEARER:
                scheme, _, value = value.strip().partition(" ")
                if scheme.lower() != "bearer":
                    continue
        if value and (value := value.strip()):
            return value
    return None
