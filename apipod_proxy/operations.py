"""Operations that are no completions (embeddings, images, sound …) on the same way: routes, limits, failover, usage."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Awaitable, Iterator
from dataclasses import replace
from typing import Any

import msgspec
import orjson

from apipod_proxy.attempt import Asking, Prepared, cleaned, text_headers
from apipod_proxy.catalog.model import Candidate
from apipod_proxy.dialect import ProtocolError, gemini_embeddings, gigachat_embeddings, tap
from apipod_proxy.dialect.identity import rewrite
from apipod_proxy.dialect.multipart import replaced
from apipod_proxy.dialect.operations import (
    EMBEDDINGS,
    GEMINI_BATCH_EMBED,
    GEMINI_EMBED,
    GIGACHAT_EMBEDDINGS,
    Operation,
    OperationTop,
)
from apipod_proxy.dialect.usage import from_chat, from_gemini, from_responses
from apipod_proxy.dialect.vocabulary import Usage
from apipod_proxy.edge.answer import Answer
from apipod_proxy.errors import Kind, MissingCapability, Unsupported, UpstreamBroken, UpstreamStatus
from apipod_proxy.exchange import Exchange
from apipod_proxy.gateway import DialectFrames, Gateway, Result
from apipod_proxy.limit.estimate import MEDIA_TOKENS, input_tokens
from apipod_proxy.route.index import Plan, for_operation
from apipod_proxy.serving import Serving, Way
from apipod_proxy.stream.lens import IdentityLens, Lens
from apipod_proxy.stream.outlet import Outlet
from apipod_proxy.stream.pump import StreamPump, WholePump, failure_error, is_json
from apipod_proxy.stream.raw import RawLens, RawOutlet, content_type
from apipod_proxy.upstream.oauth import Token

COMPLETIONS = "completions"
IMAGES = "images"
MAX_PLANS = 4096


class _Used(msgspec.Struct, gc=False):
    usage: dict[str, Any] | None = None
    usageMetadata: dict[str, Any] | None = None


_USED = msgspec.json.Decoder(_Used)


class OperationAsking(Asking):
    """What an attempt at an operation needs: the request as its provider wants it, and the answer as the client wants it."""

    def prepare(self, x: Exchange, candidate: Candidate) -> Prepared:
        """Rewrite the model's name, or translate. BadRequest where it holds content that this provider cannot carry."""
        top = top_of(x)
        way = self.way_of(top.operation, candidate)
        wire = None if way is None else self._upstream.wire(candidate, way)
        if wire is None or way is None:
            raise Unsupported(f"The provider '{candidate.provider.name}' has no {top.operation.word}.")
        model = candidate.upstream_model
        if way != top.operation.ways[0]:
            batch = top.operation.name == GEMINI_BATCH_EMBED
            if way == GEMINI_BATCH_EMBED:
                asked = gemini_embeddings.to_gemini(x.body, model)
            elif way == GIGACHAT_EMBEDDINGS:
                asked = gigachat_embeddings.to_gigachat(x.body, model)
            else:
                asked = gemini_embeddings.to_openai(x.body, model, batch=batch)
            return Prepared(wire, asked.body, False, asked.dropped)
        if top.form is not None:
            body = replaced(x.body, top.form, {"model": model})
        elif top.dialect == "gemini":
            body = gemini_embeddings.with_model(x.body, model, batch=way == GEMINI_BATCH_EMBED)
        else:
            changes: dict[str, Any] = {"model": model}
            if (
                way == COMPLETIONS
                and top.stream
                and not top.include_usage
                and wire.surface.quirks.stream_usage
            ):
                changes["stream_options"] = {"include_usage": True}
            body = rewrite(x.body, top, changes)
        return Prepared(wire, body, True, ())

    def way_of(self, operation: Operation, candidate: Candidate) -> str | None:
        """The surface of this provider by which ``operation`` is served."""
        surfaces = self.type_of(candidate).surfaces
        return next((way for way in operation.ways if way in surfaces), None)

    def lens(self, x: Exchange, prepared: Prepared) -> Lens:
        top = top_of(x)
        if top.operation.name != COMPLETIONS:
            return RawLens(usage_in_events)
        seen = tap.Tap(
            "openai_chat", x.requested_model, strip_usage=not top.include_usage, choices=top.choices
        )
        return IdentityLens(seen)

    def send(
        self,
        x: Exchange,
        prepared: Prepared,
        candidate: Candidate,
        pump: StreamPump | WholePump,
        token: Token | None = None,
    ) -> None:
        top = top_of(x)
        events = x.streamed and not top.operation.raw
        pump.call = self._upstream.send(
            prepared.wire,
            candidate.upstream_model,
            prepared.body,
            pump,
            stream=events,
            forwarded=x.forwarded,
            content_type="application/json" if top.form is None else top.form.content_type,
            accept=None if events or not (top.operation.raw or top.form) else b"*/*",
            token=token,
        )

    def refused(
        self, x: Exchange, prepared: Prepared, candidate: Candidate, pump: StreamPump | WholePump
    ) -> UpstreamStatus:
        dialect = "gemini" if prepared.wire.dialect in (GEMINI_EMBED, GEMINI_BATCH_EMBED) else "openai_chat"
        error = self._dialects[dialect].decode_error(pump.status, text_headers(pump.headers), pump.collected)
        check = prepared.wire.provider_type.auth_failure
        if check is not None and check(pump.status, pump.collected):
            error.kind = Kind.AUTHENTICATION
            error.retryable = True
        return cleaned(error, x, candidate)

    def whole(self, x: Exchange, prepared: Prepared, pump: StreamPump | WholePump) -> tuple[bytes, Usage]:
        top = top_of(x)
        body = pump.collected
        if not body:
            raise UpstreamBroken("an answer without a body")
        if not is_json(pump.headers):
            return self._as_it_is(x, top, pump, body)
        try:
            if not prepared.spliced:
                told = self._translated(x, top, prepared, body)
                # There it stands on each vector, and is summed by the translation.
                return told, usage_of(told if prepared.wire.dialect == GIGACHAT_EMBEDDINGS else body)
            answer = tap.rewrite_answer(top.dialect, body, x.requested_model)
        except ProtocolError as exc:
            raise UpstreamBroken(str(exc)) from exc
        if answer.failure is not None:
            raise failure_error(answer.failure)
        return answer.body, answer.usage if top.operation.name == COMPLETIONS else usage_of(body)

    def replay(self, x: Exchange, prepared: Prepared, pump: StreamPump, outlet: Outlet) -> Usage:
        """JSON for a client that asked for a stream: it is passed on as what it is, to the one kind of client that can take it."""
        body, usage = self.whole(x, prepared, pump)
        if top_of(x).operation.name == COMPLETIONS:
            raise UpstreamBroken("a whole answer where a stream was asked for")
        outlet.claim(pump, None)
        outlet.write(body)
        outlet.finish()
        return usage

    def _as_it_is(
        self, x: Exchange, top: OperationTop, pump: StreamPump | WholePump, body: bytes
    ) -> tuple[bytes, Usage]:
        kind = content_type(pump.headers)
        if top.operation.name == IMAGES and kind.startswith(b"image/"):
            # Some providers answer with the picture itself.
            told = {"created": x.started_at // 1000, "data": [{"b64_json": b64encode(body).decode()}]}
            return orjson.dumps(told), Usage(output=0)
        if top.form is None:
            raise UpstreamBroken("an answer that is no JSON")
        x.answer_type = kind
        return body, Usage(output=0)

    def _translated(self, x: Exchange, top: OperationTop, prepared: Prepared, body: bytes) -> bytes:
        if prepared.wire.dialect == EMBEDDINGS:
            return gemini_embeddings.from_openai(body, batch=top.operation.name == GEMINI_BATCH_EMBED)
        packed = bytes(top.members.get("encoding_format", b"")) == b'"base64"'
        if prepared.wire.dialect == GIGACHAT_EMBEDDINGS:
            return gigachat_embeddings.from_gigachat(body, x.requested_model, packed=packed)
        return gemini_embeddings.from_gemini(body, x.requested_model, packed=packed, tokens=x.input_estimate)


class OperationGateway(Gateway):
    """The same flow for operations: everything that outlives a request belongs to the gateway of completions."""

    def __init__(self, main: Gateway, asking: OperationAsking) -> None:
        super().__init__(replace(main.parts, asking=asking, inliner=None), main.serving, main.loop)
        self._main = main
        self._asking = asking
        self._plans: dict[tuple[Plan, str], Plan] = {}

    @property
    def serving(self) -> Serving:
        return self._main.serving

    @serving.setter
    def serving(self, _: Serving) -> None:
        """It is the main gateway's."""

    def way(self, x: Exchange) -> Way:
        """Only candidates whose provider has the operation. Raises MissingCapability where none has."""
        way = super().way(x)
        operation = top_of(x).operation
        plan = self._plans.get((way.plan, operation.name))
        if plan is None:
            plan = for_operation(
                way.plan,
                operation.name,
                lambda option: self._asking.way_of(operation, option.pairs[0].candidate) is not None,
            )
            if len(self._plans) >= MAX_PLANS:
                self._plans.clear()
            self._plans[way.plan, operation.name] = plan
        if not plan.pairs:
            raise MissingCapability(x.requested_model, operation.word)
        return Way(plan, way.half, plan.pairs[0] if way.lone is not None else None)

    def _draw(self, x: Exchange, plan: Plan) -> Iterator[Candidate]:
        # What families of models are known to lack is about completions, and so are their context windows.
        return self.parts.router.draw(plan)

    def outlet(self, x: Exchange, client: Answer) -> Outlet:
        if top_of(x).operation.name == COMPLETIONS:
            return super().outlet(x, client)
        return RawOutlet(client, DialectFrames(x), self.loop)

    def reservation(self, x: Exchange, plan: Plan) -> int:
        form = top_of(x).form
        if form is None:
            return super().reservation(x, plan)
        # A file of sound is as many tokens as its seconds, which its bytes do not tell.
        x.input_estimate = input_tokens(form.text_bytes()) + MEDIA_TOKENS
        return x.input_estimate

    def learn(self, model: str, tokens: int) -> None:
        """Nothing: what an embedding puts out says nothing of the length of a completion."""

    def headers(self, x: Exchange, candidate: Candidate) -> bytes:
        return self._main.headers(x, candidate)

    async def _patiently(self, waiting: Awaitable[Result]) -> Result:
        return await self._main._patiently(waiting)

    def watch(self, pump: StreamPump | WholePump) -> None:
        self._main.watch(pump)

    def unwatch(self, pump: StreamPump | WholePump) -> None:
        self._main.unwatch(pump)


def top_of(x: Exchange) -> OperationTop:
    """What was read of the request."""
    assert isinstance(x.top, OperationTop)
    return x.top


def usage_in_events(tail: bytes) -> Usage:
    """The last usage that stands in the end of a stream of events, of which the beginning is cut off."""
    start = tail.rfind(b'"usage":')
    if start >= 0:
        try:
            told, _ = json.JSONDecoder().raw_decode(tail[start + 8 :].decode("utf-8", "replace").lstrip())
        except json.JSONDecodeError:
            return Usage(output=0)
        if isinstance(told, dict):
            return usage_of(orjson.dumps({"usage": told}))
    return Usage(output=0)


def usage_of(body: bytes) -> Usage:
    """What an answer says of its usage, in any of the spellings. The output is none where it is not told: it is no text."""
    try:
        told = _USED.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return Usage(output=0)
    if told.usageMetadata is not None:
        usage = from_gemini(told.usageMetadata)
    elif told.usage is None:
        usage = Usage()
    elif "prompt_tokens" in told.usage:
        usage = from_chat(told.usage)
    else:
        usage = from_responses(told.usage)
    return usage if usage.output is not None else usage._replace(output=0)
