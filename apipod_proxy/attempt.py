"""One candidate asked once: the request as its provider wants it, the answer as the client wants it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import NamedTuple

from apipod_proxy.catalog.model import Account, Candidate
from apipod_proxy.dialect import (
    Aim,
    AnswerInfo,
    Dialect,
    IdMaker,
    ProtocolError,
    Tongue,
    identity,
    members,
    signatures,
    tap,
)
from apipod_proxy.dialect.vocabulary import Event, Failure, Start, Usage, UsageReport
from apipod_proxy.errors import Kind, Unsupported, UpstreamBroken, UpstreamStatus
from apipod_proxy.exchange import Exchange
from apipod_proxy.route.capabilities import Ability, ability_of
from apipod_proxy.stream.lens import IdentityLens, Lens, TranslatingLens
from apipod_proxy.stream.outlet import Outlet
from apipod_proxy.stream.pump import Headers, StreamPump, WholePump, failure_error, is_json
from apipod_proxy.upstream.oauth import Token
from apipod_proxy.upstream.provider import ProviderType
from apipod_proxy.upstream.wire import Upstream, Wire

JSON = b"application/json"

KEY_LIKE = re.compile(
    r"\b(?:sk|pk|rk|apk|gsk|nvapi|xai|hf|AIza)[-_][\w-]{8,}|\bAIza[\w-]{20,}|(?i:bearer)\s+\S{8,}"
)
"""What looks like a credential, in a provider's own words."""

SHORTEST_SECRET = 8
"""Characters of a provider's key."""


class Prepared(NamedTuple):
    """A request for one candidate. ``spliced``: client and provider speak the same dialect; ``dropped``: the knobs that it lacks."""

    wire: Wire
    body: bytes
    spliced: bool
    dropped: tuple[str, ...]


class Spoken(NamedTuple):
    """How one provider account is spoken to for clients of one dialect."""

    account: Account
    wire: Wire
    same: bool
    """Whether that is the client's own dialect."""


MAX_SPOKEN = 10_000


class Asking:
    """What every attempt needs, made once: ``ask`` runs one."""

    def __init__(
        self,
        upstream: Upstream,
        dialects: Mapping[str, Dialect | Tongue],
        new_id: IdMaker,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._upstream = upstream
        self._dialects = dialects
        self._new_id = new_id
        self._loop = loop
        self._spoken: dict[tuple[str, str], Spoken] = {}

    def type_of(self, candidate: Candidate) -> ProviderType:
        """What kind of provider ``candidate`` has."""
        return self._upstream.type_of(candidate.provider)

    def prepare(self, x: Exchange, candidate: Candidate) -> Prepared:
        """Encode the request. BadRequest where it holds content that this provider's dialect cannot carry."""
        name = x.dialect.name
        spoken = self._spoken.get((candidate.account.id, name))
        if spoken is None or spoken.account is not candidate.account:
            spoken = self._speak(candidate, name)
        _, wire, same = spoken
        top = x.top
        assert top is not None
        if same and not signatures.carries_labels(name, top.brief):
            body, dropped = identity.for_upstream(x.body, top, candidate.upstream_model, wire.surface.quirks)
            return Prepared(wire, body, True, dropped)
        if x.call is None:
            x.call = x.dialect.decode_request(x.body, model=x.requested_model, stream=x.streamed)
        instead = wire.provider_type.instead
        if not same and instead is not None:
            better = instead(x.call, candidate.upstream_model)
            wire = (better and self._upstream.wire(candidate, better)) or wire
        ability: Ability = ability_of(candidate.model)
        signs = wire.provider_type.signs
        aim = Aim(candidate.upstream_model, ability.max_output, wire.surface.quirks, ability.thinks, signs)
        encoded = self._dialects[wire.dialect].encode_request(x.call, aim)
        return Prepared(wire, encoded.body, same, tuple(encoded.dropped))

    def _speak(self, candidate: Candidate, name: str) -> Spoken:
        dialect = self._upstream.type_of(candidate.provider).speaks(name)
        wire = None if dialect is None else self._upstream.wire(candidate, dialect)
        if wire is None:
            raise Unsupported(f"The provider '{candidate.provider.name}' has no completions.")
        if len(self._spoken) >= MAX_SPOKEN:
            self._spoken.clear()
        found = self._spoken[candidate.account.id, name] = Spoken(candidate.account, wire, dialect == name)
        return found

    def lens(self, x: Exchange, prepared: Prepared) -> Lens:
        """What this answer is seen through."""
        top = x.top
        assert top is not None
        if prepared.spliced:
            seen = tap.Tap(
                x.dialect.name, x.requested_model, strip_usage=not top.include_usage, choices=top.choices
            )
            return IdentityLens(seen)
        wire = prepared.wire
        decoder = self._dialects[wire.dialect].decoder(self._new_id, wire.surface.quirks)
        return TranslatingLens(decoder, x.dialect.encoder(self.info(x)))

    def info(self, x: Exchange) -> AnswerInfo:
        top = x.top
        assert top is not None
        return AnswerInfo(x.requested_model, x.id, x.started_at // 1000, top.include_usage, x.call)

    def send(
        self,
        x: Exchange,
        prepared: Prepared,
        candidate: Candidate,
        pump: StreamPump | WholePump,
        token: Token | None = None,
    ) -> None:
        """Start the request; what comes back arrives at ``pump``."""
        pump.call = self._upstream.send(
            prepared.wire,
            candidate.upstream_model,
            prepared.body,
            pump,
            stream=x.streamed,
            forwarded=x.forwarded,
            token=token,
        )

    async def authorise(self, candidate: Candidate) -> Token | None:
        """The token that ``candidate`` takes in place of a key, for the few that do. Raises UpstreamError."""
        return await self._upstream.authorise(candidate)

    def forget(self, candidate: Candidate, token: Token) -> None:
        """``token`` was refused."""
        self._upstream.forget(candidate, token)

    def refused(
        self, x: Exchange, prepared: Prepared, candidate: Candidate, pump: StreamPump | WholePump
    ) -> UpstreamStatus:
        """The provider's error status as an error; its words without its names and keys."""
        error = self._dialects[prepared.wire.dialect].decode_error(
            pump.status, text_headers(pump.headers), pump.collected
        )
        check = prepared.wire.provider_type.auth_failure
        if check is not None and check(pump.status, pump.collected):
            error.kind = Kind.AUTHENTICATION
            error.retryable = True
        return cleaned(error, x, candidate)

    def whole(self, x: Exchange, prepared: Prepared, pump: StreamPump | WholePump) -> tuple[bytes, Usage]:
        """The body of a unary answer for the client, and its usage. Raises UpstreamError for what is no answer."""
        body = pump.collected
        unary = is_json(pump.headers)
        try:
            if prepared.spliced and unary:
                answer = tap.rewrite_answer(x.dialect.name, body, x.requested_model)
                if answer.failure is not None:
                    raise failure_error(answer.failure)
                if answer.body is body and members.read(body) is None:
                    raise UpstreamBroken("the answer is no JSON object")
                return answer.body, answer.usage
            events = self._events(prepared.wire, body, unary)
            return x.dialect.encoder(self.info(x)).fold(events), usage_of(events)
        except ProtocolError as exc:
            raise UpstreamBroken(str(exc)) from exc

    def replay(self, x: Exchange, prepared: Prepared, pump: StreamPump, outlet: Outlet) -> Usage:
        """A JSON answer to a client that asked for a stream: the same events, sent at once."""
        try:
            events = self._events(prepared.wire, pump.collected, True)
            usage = usage_of(events)
            encoder = x.dialect.encoder(self.info(x))
            data = b"".join(encoder.send(event) for event in events)
        except ProtocolError as exc:
            raise UpstreamBroken(str(exc)) from exc
        outlet.claim(pump, None)
        outlet.write(data)
        outlet.finish()
        return usage

    def _events(self, wire: Wire, body: bytes, unary: bool) -> list[Event]:
        row, quirks = self._dialects[wire.dialect], wire.surface.quirks
        if unary:
            events = row.decode_unary(body, self._new_id, quirks)
        else:
            decoder = row.decoder(self._new_id, quirks)
            events = decoder.feed(body) + decoder.eof()
        for event in events:
            if isinstance(event, Failure):
                raise failure_error(event)
        return events


def usage_of(events: list[Event]) -> Usage:
    """What the events report, later reports over earlier ones."""
    usage = Usage()
    for event in events:
        if isinstance(event, UsageReport | Start) and event.usage is not None:
            usage = usage.merged(event.usage)
    return usage


def text_headers(headers: Headers) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}


def cleaned(error: UpstreamStatus, x: Exchange, candidate: Candidate) -> UpstreamStatus:
    """``error`` without what a client must not see: the name that the model has upstream, and anything like a key."""
    if error.message is not None:
        if error.kind in (Kind.AUTHENTICATION, Kind.PERMISSION, Kind.QUOTA) and error.retryable:
            # It is about the gateway's own account.
            error.message = None
            error.code = None
        else:
            error.message = discreet(error.message, candidate, x.requested_model)
    return error


def discreet(text: str, candidate: Candidate, requested_model: str) -> str:
    """A provider's own words without its key, and with the model's name as the client knows it."""
    # What is put where a local server wants any key at all, as "x", is no secret and may be part of any word.
    if len(candidate.account.api_key) >= SHORTEST_SECRET:
        text = text.replace(candidate.account.api_key, "***")
    if candidate.upstream_model and candidate.upstream_model != requested_model:
        # Whole words only: a short name may be part of any other word.
        name = rf"(?<![\w./:-]){re.escape(candidate.upstream_model)}(?![\w-])"
        text = re.sub(name, lambda _: requested_model, text)
    return KEY_LIKE.sub("***", text)
