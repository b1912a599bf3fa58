"""What the admin API needs of the rest of the program."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from aiohttp import web

from apipod_proxy.catalog.model import ApiKey, Snapshot


class MadeKey(Protocol):
    """``text`` is the key itself, shown this once."""

    @property
    def text(self) -> str: ...
    @property
    def key(self) -> ApiKey: ...
    @property
    def subscription(self) -> str: ...


class Keys(Protocol):
    async def create(
        self, name: str, subscription: str = ..., expires_in: object = ..., user: str | None = ...
    ) -> MadeKey: ...
    async def revoke(self, what: str) -> ApiKey: ...
    async def rotate(self, what: str) -> MadeKey: ...


class Caller(Protocol):
    @property
    def is_admin(self) -> bool: ...


class Total(Protocol):
    """One row of sums over the usage log."""

    @property
    def owner(self) -> str: ...
    @property
    def input_tokens(self) -> int: ...
    @property
    def cache_read_tokens(self) -> int: ...
    @property
    def cache_write_tokens(self) -> int: ...
    @property
    def output_tokens(self) -> int: ...
    @property
    def cost_nano(self) -> int: ...
    def _asdict(self) -> dict[str, object]: ...


class AdminServices(NamedTuple):
    """``secret`` None: only keys of admins open the API.

    ``identify`` says whose key a request carries: None if it carries none; raises Unauthenticated, Forbidden.
    ``apply`` takes the text of a catalog file and gives its report; raises BadRequest. ``export``: with secrets or without.
    ``totals``: (grouping, since, until). ``account_states``: rows with ``provider`` and ``account``, and how it stands with them.
    ``set_account``: (provider, account, active); raises NoSuch. ``explain``: where a request would go, and why.
    """

    secret: str | None
    identify: Callable[[web.BaseRequest], Caller | None]
    read_body: Callable[[web.BaseRequest], Awaitable[bytes]]
    now_ms: Callable[[], int]
    snapshot: Callable[[], Snapshot]
    keys: Keys
    apply: Callable[[str], Awaitable[dict[str, object]]]
    export: Callable[[bool], Awaitable[str]]
    groupings: Sequence[str]
    totals: Callable[[str, int, int], Awaitable[Sequence[Total]]]
    account_states: Callable[[], Awaitable[Sequence[Mapping[str, object]]]]
    set_account: Callable[[str, str, bool], Awaitable[None]]
    explain: Callable[[Mapping[str, object]], Mapping[str, object]]
