"""What a failed attempt means: whether another candidate is asked, and what is to be remembered of this one.

Reads types and numbers, never texts: a dialect has turned the provider's words into a Kind before.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from apipod_proxy.catalog.model import Provider
from apipod_proxy.errors import (
    Kind,
    ProxyError,
    Unreachable,
    UpstreamBroken,
    UpstreamError,
    UpstreamStatus,
    UpstreamTimeout,
)


class Action(Enum):
    FINAL = "final"
    """The request itself is at fault (or nobody's provider is): the caller gets this error."""
    NEXT = "next"
    """Another candidate may serve it."""


class Scope(Enum):
    """What a Retry-After parks."""

    PAIR = "pair"
    ACCOUNT = "account"


class Verdict(NamedTuple):
    """``park`` is seconds, 0 for none; ``counts``: it is a failure to the breaker; ``again``: the same candidate may be asked after backoff."""

    action: Action
    reason: str
    counts: bool = False
    again: bool = False
    park: float = 0.0
    scope: Scope = Scope.PAIR
    disables: bool = False
    answered: bool = False
    """The provider answered in good order, so it is alive."""


# Longer waits are quotas of a day at most; a wrong clock at the provider must not take it out for good.
LONGEST_PARK = 86_400.0

REQUEST_ERRORS = frozenset({400, 404, 405, 413, 415, 422})
_REQUEST_KINDS = frozenset({Kind.INVALID_REQUEST, Kind.TOO_LARGE, Kind.UNSUPPORTED, Kind.METHOD_NOT_ALLOWED})
_QUOTA_KINDS = frozenset({Kind.QUOTA, Kind.RATE_LIMIT, Kind.OVERLOADED})

# Whatever a client can bring about by what it asks for must not count against a provider that others use:
# 403 (moderation, a model of another plan), 409 and 425 say nothing about its health.
_COUNTED = frozenset({401, 402, 404, 408, 429})
_AGAIN = frozenset({408, 409, 425, 429})
_QUOTA_SHARED = "quota_shared"


def classify(error: ProxyError, provider: Provider | None = None, *, quota_shared: bool = False) -> Verdict:
    """The verdict on one attempt. ``quota_shared``: the provider's type says that one quota serves all models of an account.

    The provider's option ``quota_shared`` (true | false) overrides its type's.
    """
    if isinstance(error, UpstreamStatus):
        shared = quota_shared
        if provider is not None and _QUOTA_SHARED in provider.options:
            shared = provider.options[_QUOTA_SHARED].lower() == "true"
        return of_status(
            error.upstream_status,
            error.kind,
            retry_after=error.retry_after_seconds,
            final=not error.retryable,
            scope=Scope.ACCOUNT if shared else Scope.PAIR,
        )
    if isinstance(error, Unreachable):
        return Verdict(Action.NEXT, f"unreachable ({error.stage})", counts=True, again=True)
    if isinstance(error, UpstreamTimeout):
        return Verdict(Action.NEXT, f"timeout ({error.stage})", counts=True)
    if isinstance(error, UpstreamBroken):
        return Verdict(Action.NEXT, "broken answer", counts=True, again=True)
    if isinstance(error, UpstreamError):
        return Verdict(
            Action.NEXT if error.retryable else Action.FINAL, "upstream error", counts=error.retryable
        )
    return Verdict(Action.FINAL, "not the provider's")


def of_status(
    status: int,
    kind: Kind,
    *,
    retry_after: float | None = None,
    final: bool = False,
    scope: Scope = Scope.PAIR,
) -> Verdict:
    """The verdict on an error status. ``final``: the dialect knows that the request itself is rejected."""
    reason = f"status {status}"
    quota = kind in _QUOTA_KINDS
    if final or (not quota and status in REQUEST_ERRORS and kind in _REQUEST_KINDS):
        return Verdict(Action.FINAL, reason, answered=True)
    if kind is Kind.AUTHENTICATION and status in (401, 403):
        return Verdict(Action.NEXT, reason, disables=True)
    if status == 401:
        return Verdict(Action.NEXT, reason, disables=True)
    park = min(max(retry_after or 0.0, 0.0), LONGEST_PARK)
    if park:
        return Verdict(Action.NEXT, reason, counts=status >= 500, park=park, scope=scope)
    return Verdict(
        Action.NEXT,
        reason,
        counts=quota or kind is Kind.AUTHENTICATION or status in _COUNTED or status >= 500 or status < 400,
        again=kind is not Kind.QUOTA and (quota or status in _AGAIN or status >= 500 or status < 400),
    )
