"""Client keys as an operator handles them: made, listed, revoked, rotated. A key's text is shown once and kept nowhere."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from apipod_proxy.catalog import rows
from apipod_proxy.catalog.model import ApiKey, Role, Source, Subscription, User, key_digest, key_prefix
from apipod_proxy.catalog.ports import Database, Session
from apipod_proxy.errors import BadRequest, NoSuch

DEFAULT_SUBSCRIPTION = "elite"

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_MOST_SECONDS = 100 * 366 * 86400
_DURATION_FORMS = "whole seconds, or a number with s, m, h, d or w behind it, as 30d; 100 years at most"


class CreatedKey(NamedTuple):
    """``text`` is the key itself."""

    text: str
    key: ApiKey
    subscription: str


@dataclass(frozen=True, slots=True)
class Makers:
    """Where the new comes from: ``key`` texts, ``id`` texts, and the time in epoch milliseconds."""

    key: Callable[[], str]
    id: Callable[[], str]
    now_ms: Callable[[], int]


@dataclass(slots=True)
class KeyService:
    """``changed`` is awaited after each change, so that this process sees it at once."""

    database: Database
    makers: Makers
    changed: Callable[[], Awaitable[None]] | None = field(default=None)

    async def create(
        self,
        name: str,
        subscription: str = DEFAULT_SUBSCRIPTION,
        expires_in: object = None,
        user: str | None = None,
    ) -> CreatedKey:
        """A new key; raises BadRequest, NoSuch.

        It belongs to ``user``, who must be there and keeps the own subscription. Without that it belongs to the user called ``name``
        (made if need be, under a number if someone else is called so) in ``subscription``, which is made on its first use.
        """
        now = self.makers.now_ms()
        lifetime = duration_ms(expires_in)
        _check_name("name", name)
        _check_name("subscription", subscription)
        async with self.database.writing() as session:
            version = await _bump(session, whole=False)
            if user is None:
                owner, version = await self._owner(session, name, subscription, version)
            else:
                owner = await _existing_user(session, user)
            key, text = self._new(
                ApiKey("", owner.name, name, b"", expires_at=None if lifetime is None else now + lifetime)
            )
            await session.execute("put_key", **rows.key_columns(key, version))
            await session.announce()
        await self._tell()
        return CreatedKey(text, key, owner.subscription)

    async def list(self) -> list[ApiKey]:
        """All keys, the oldest first."""
        async with self.database.reading() as session:
            found = rows.Decoder().keys(await session.fetch("read_keys", since=0))
            return sorted((key for key, _ in found), key=lambda key: (key.created_at, key.id))

    async def revoke(self, what: str) -> ApiKey:
        """End the key that ``what`` names: its id, its first 12 characters, its name, or the key itself. Raises NoSuch, BadRequest."""
        async with self.database.writing() as session:
            version = await _bump(session, whole=False)
            key = await _find(session, what)
            if key.revoked_at is None:
                key = await self._end(session, key, version)
                await session.announce()
        await self._tell()
        return key

    async def rotate(self, what: str) -> CreatedKey:
        """A new key with all that the old one may, which ends at once. Raises NoSuch, BadRequest."""
        async with self.database.writing() as session:
            version = await _bump(session, whole=False)
            old = await _find(session, what)
            if not old.active:
                raise BadRequest(
                    f"The key '{old.name}' ({old.prefix}) is not active; make a new one instead."
                )
            if old.expires_at is not None and old.expires_at <= self.makers.now_ms():
                # The new one would end when the old one did.
                raise BadRequest(f"The key '{old.name}' ({old.prefix}) has expired; make a new one instead.")
            owner = await _existing_user(session, old.user)
            key, text = self._new(old)
            await session.execute("put_key", **rows.key_columns(key, version))
            await self._end(session, old, version)
            await session.announce()
        await self._tell()
        return CreatedKey(text, key, owner.subscription)

    def _new(self, like: ApiKey) -> tuple[ApiKey, str]:
        text = self.makers.key()
        digest = key_digest(text)
        assert digest is not None
        key = replace(
            like,
            id=self.makers.id(),
            digest=digest,
            prefix=key_prefix(text),
            created_at=self.makers.now_ms(),
            source=Source.ADMIN,
        )
        return key, text

    async def _end(self, session: Session, key: ApiKey, version: int) -> ApiKey:
        now = self.makers.now_ms()
        await session.execute("revoke_key", digest=key.digest.hex(), revoked_at=now, version=version)
        return replace(key, active=False, revoked_at=now)

    async def _owner(self, session: Session, name: str, subscription: str, version: int) -> tuple[User, int]:
        if await session.fetch_one("find_subscription", name=subscription) is None:
            version = await _bump(session, whole=True)
            made = Subscription("", subscription, {}, source=Source.ADMIN)
            await session.execute("put_subscription", **rows.subscription_columns(made))
        number = 1
        while True:
            candidate = name if number == 1 else f"{name}-{number}"
            row = await session.fetch_one("find_user", name=candidate)
            if row is None or row[8]:
                user = User("", candidate, subscription, source=Source.ADMIN)
                await session.execute("put_user", **rows.user_columns(user, version))
                return user, version
            there = rows.Decoder().user(row)
            if (
                there.subscription == subscription
                and there.role is Role.MEMBER
                and there.active
                and there.expires_at is None
            ):
                return there, version
            number += 1

    async def _tell(self) -> None:
        if self.changed is not None:
            await self.changed()


async def _bump(session: Session, *, whole: bool) -> int:
    row = await session.fetch_one("bump_version", whole=int(whole))
    assert row is not None
    return int(row[0])


async def _existing_user(session: Session, name: str) -> User:
    row = await session.fetch_one("find_user", name=name)
    if row is None or row[8]:
        raise NoSuch("user", name)
    return rows.Decoder().user(row)


async def _find(session: Session, what: str) -> ApiKey:
    """The one key; of several with a name or prefix, the one that is not revoked."""
    digest = key_digest(what)
    fits = what.isprintable() and digest is not None
    found = await session.fetch("find_keys", what=what, digest=digest.hex()) if fits and digest else []
    keys = [key for key, _ in rows.Decoder().keys(found)]
    exact = [key for key in keys if key.id == what or key.digest == digest]
    keys = exact or [key for key in keys if key.revoked_at is None] or keys[-1:]
    if not keys:
        raise NoSuch("key", key_prefix(what) if len(what) > 40 else what)
    if len(keys) > 1:
        ids = ", ".join(f"{key.id} ({key.prefix}, of {key.user})" for key in keys[:10])
        raise BadRequest(f"'{what}' names {len(keys)} keys; say which by its id: {ids}.")
    return keys[0]


def duration_ms(value: object) -> int | None:
    """Milliseconds of ``30d``, ``"3600"`` or 3600 (seconds); None of None. Raises BadRequest."""
    if value is None:
        return None
    seconds = 0
    if isinstance(value, int | float) and not isinstance(value, bool) and float(value).is_integer():
        seconds = int(value)
    elif isinstance(value, str) and (match := re.fullmatch(r"\s*([0-9]{1,12})\s*([smhdw]?)\s*", value)):
        seconds = int(match[1]) * _SECONDS[match[2] or "s"]
    if 0 < seconds <= _MOST_SECONDS:
        return seconds * 1000
    raise BadRequest(f"found {value!r}; allowed: {_DURATION_FORMS}", "$.expires_in")


def _check_name(what: str, name: str) -> None:
    if not (name.strip() == name and name.isprintable() and 0 < len(name) <= 200):
        raise BadRequest("allowed: 1 to 200 printable characters, no blanks around them", f"$.{what}")
