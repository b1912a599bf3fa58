"""Responses that the gateway keeps itself, for clients that go on from them where the provider keeps none."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

import orjson

from apipod_proxy.dialect import AnswerInfo, Dialect
from apipod_proxy.dialect.identity import read_request
from apipod_proxy.dialect.openai_responses_encoder import Encoder
from apipod_proxy.dialect.openai_responses_items import NAME
from apipod_proxy.dialect.openai_responses_memory import (
    REFERENCE,
    continued,
    input_items,
    item_not_found,
    kept,
    not_found,
    previous_id,
    references,
    resolved,
    response_of,
    wants_keeping,
)
from apipod_proxy.dialect.vocabulary import Call, End, Event, Json
from apipod_proxy.edge.answer import STREAM_HEAD, Answer
from apipod_proxy.errors import ClientError, StoreError
from apipod_proxy.exchange import Exchange
from apipod_proxy.gateway import Gateway
from apipod_proxy.serving import Serving
from apipod_proxy.store.responses import ResponseTable, StoredResponse

log = logging.getLogger("apipod_proxy.conversations")

OWN_IDS = "resp_req_"
"""What the ids begin with that the gateway gives; providers give other ones."""

SHORT_ID = re.compile(rb'"id"\s*:\s*("resp_[0-9A-Za-z_-]{1,20}")')
"""An id that two responses may have: Ollama's are one of a million. Quotes within texts are escaped, so that this is a value of its own."""

RESPONSE = b'"response"'
"""Stands in the first event of a stream, which holds the id."""

SECOND_LOOK = 0.2
"""Seconds. A process beside this one may have answered a moment ago, and still be writing."""

MOST_WAITING = 64 * 1024 * 1024
"""Bytes of requests whose responses wait to be written. Past it, as with a database that is away, no more are taken."""

FINISHED = (b"response.completed", b"response.incomplete")
"""The events that hold a finished response."""

BATCH = 50
TRIES = 3
TRY_AGAIN_SECONDS = 1.0
CLOSE_SECONDS = 5.0


class Turn(NamedTuple):
    """One finished response that is not in the database yet. ``body`` is the request as it came."""

    id: str
    owner: str
    previous: str | None
    created_at: int
    expires_at: int
    body: bytes
    response: dict[str, Json]

    def items(self) -> bytes:
        """What this turn adds to its conversation, as a JSON array."""
        return kept(self.body, self.response.get("output") or [])

    def row(self) -> StoredResponse:
        return StoredResponse(
            *self[:5], items=self.items().decode(), response=orjson.dumps(self.response).decode()
        )


class KeepingEncoder(Encoder):
    """Hands over the finished response before its end is sent: a client may go on from it at once."""

    def __init__(self, info: AnswerInfo, keep: Callable[[dict[str, Json]], None]) -> None:
        super().__init__(info)
        self._keep = keep

    def send(self, event: Event) -> bytes:
        sent = super().send(event)
        if type(event) is End:
            self._keep(self.final)
        return sent

    def fold(self, events: Sequence[Event]) -> bytes:
        body = super().fold(events)
        if self.final:
            self._keep(self.final)
        return body


class Watched(Answer):
    """The client's side of an answer that its provider does not keep: the finished response is handed over before its end is sent.

    An id that is none for long is replaced by ``own_id``.
    """

    __slots__ = ("_inner", "_keep", "_own_id", "_seen", "_short")

    def __init__(self, inner: Answer, keep: Callable[[dict[str, Json]], None], own_id: str) -> None:
        self._inner = inner
        self._keep = keep
        self._own_id = b'"%b"' % own_id.encode()
        self._seen = False
        self._short = b""

    @property
    def begun(self) -> bool:
        return self._inner.begun

    @property
    def gone(self) -> bool:
        return self._inner.gone

    @property
    def paused(self) -> bool:
        return self._inner.paused

    @property
    def headers(self) -> bytes:
        return self._inner.headers

    @headers.setter
    def headers(self, lines: bytes) -> None:
        self._inner.headers = lines

    def begin_stream(self, content: bytes = STREAM_HEAD) -> None:
        self._inner.begin_stream(content)

    def write(self, data: bytes) -> bool:
        if not self._seen and RESPONSE in data:
            self._seen = True
            found = SHORT_ID.search(data)
            self._short = b"" if found is None else found[1]
        if self._short:
            data = data.replace(self._short, self._own_id)
        for mark in FINISHED:
            if mark in data:
                self._look(data, mark)
        return self._inner.write(data)

    def end(self) -> None:
        self._inner.end()

    def send(self, status: int, content_type: bytes, body: bytes, *, head_only: bool = False) -> None:
        if status == 200:
            found = SHORT_ID.search(body)
            if found is not None:
                body = body.replace(found[1], self._own_id)
            self._take(body)
        self._inner.send(status, content_type, body, head_only=head_only)

    def drained(self) -> Awaitable[None]:
        return self._inner.drained()

    def abort(self) -> None:
        self._inner.abort()

    def _look(self, events: bytes, mark: bytes) -> None:
        """The terminal event among those of one write; a text may hold its name as well."""
        for line in events.splitlines():
            if line.startswith(b"data:") and mark in line:
                self._take(line[5:])

    def _take(self, data: bytes) -> None:
        try:
            found = orjson.loads(data)
        except orjson.JSONDecodeError:
            return
        if isinstance(found, dict) and str(found.get("type")).encode() in FINISHED:
            found = found.get("response")
        if isinstance(found, dict) and found.get("object") == "response" and found.get("id"):
            self._keep(found)


class Conversations:
    """Stands before the gateway for ``/v1/responses``. ``hours``: how long responses are kept, 0 for not at all.

    ``clock`` gives epoch seconds. A response belongs to the user who asked for it.
    """

    def __init__(
        self, gateway: Gateway, table: ResponseTable, hours: int, clock: Callable[[], float]
    ) -> None:
        self._gateway = gateway
        self._table = table
        self._keep_ms = hours * 3_600_000
        self._clock = clock
        self._waiting: dict[str, Turn] = {}
        self._bytes = 0
        self._writer: asyncio.Task[None] | None = None

    @property
    def serving(self) -> Serving:
        return self._gateway.serving

    async def complete(self, x: Exchange, client: Answer) -> None:
        """As ``Gateway.complete``; the request goes on from what is kept, and what is answered is kept."""
        assert x.top is not None
        members = x.top.members
        previous = previous_id(members)
        if previous is None and not self._keep_ms:
            await self._gateway.complete(x, client)
            return
        kept_by = self._kept_by(x)
        if self._keep_ms and REFERENCE in x.body:
            await self._resolve(x, kept_by)
        asked = x.body
        own = await self._go_on(x, previous, kept_by) if previous is not None else True
        # What the provider keeps by its own id is not the gateway's to keep.
        keeps = own and self._keep_ms > 0 and wants_keeping(members)
        x.dialect = self._row(x, asked, previous, keeps)
        if keeps and False in kept_by:
            client = Watched(
                client, lambda response: self._keep(x, asked, previous, response), f"resp_{x.id}"
            )
        await self._gateway.complete(x, client)

    def _kept_by(self, x: Exchange) -> set[bool]:
        """Of the candidates that speak Responses: whether their providers keep them."""
        asking = self._gateway.parts.asking
        surfaces = [asking.type_of(pair.candidate).surfaces for pair in self._gateway.way(x).plan.pairs]
        return {spoken[NAME].quirks.keeps_responses for spoken in surfaces if NAME in spoken}

    async def _resolve(self, x: Exchange, kept_by: set[bool]) -> None:
        """Put what the client names by id, of answers that are kept here, into the request. Raises where nobody knows an item."""
        assert x.principal is not None
        answers: dict[str, dict[str, dict[str, Json]]] = {}
        items: dict[str, dict[str, Json]] = {}
        for item_id in references(x.body):
            response_id = response_of(item_id)
            if response_id is None and True in kept_by:
                continue
            if response_id is not None and response_id not in answers:
                answers[response_id] = await self._outputs(response_id, x.principal.user.id)
            item = answers[response_id].get(item_id) if response_id is not None else None
            if item is None:
                raise item_not_found(item_id)
            items[item_id] = item
        if items:
            x.body = resolved(x.body, items)
            x.top = read_request(NAME, x.body)

    async def _outputs(self, response_id: str, owner: str) -> dict[str, dict[str, Json]]:
        """The items of a kept answer by their ids; none where it is not kept."""
        for wait in (SECOND_LOOK, 0.0):
            response = await self.read(response_id, owner)
            if response is not None:
                return {item["id"]: item for item in orjson.loads(response)["output"]}
            if wait:
                await asyncio.sleep(wait)
        return {}

    async def _go_on(self, x: Exchange, previous: str, kept_by: set[bool]) -> bool:
        """Put the conversation into the request. False where only its provider knows it; raises where nobody can."""
        assert x.principal is not None
        conversation = None
        if self._keep_ms and (previous.startswith(OWN_IDS) or False in kept_by):
            conversation = await self._conversation(previous, x.principal.user.id)
        if conversation is not None:
            x.body = continued(x.body, conversation)
            x.top = read_request(NAME, x.body)
            return True
        if True not in kept_by:
            raise not_found(previous)
        return False

    async def _conversation(self, response_id: str, owner: str) -> bytes | None:
        """The items up to this response as a JSON array; None where it is not kept."""
        for wait in (SECOND_LOOK, 0.0):
            turns: list[bytes] = []
            following: str | None = response_id
            while following is not None and following in self._waiting:
                turn = self._waiting[following]
                if turn.owner != owner:
                    return None
                turns.insert(0, turn.items())
                following = turn.previous
            if following is None:
                return joined(turns)
            found = await self._table.conversation(following, owner, self._now())
            if found is not None:
                return joined([*(items.encode() for items in found), *turns])
            if wait:
                await asyncio.sleep(wait)
        return None

    def _row(self, x: Exchange, asked: bytes, previous: str | None, keeps: bool) -> Dialect:
        """The dialect of this one exchange: its answers say what was asked for, and are kept."""
        row = x.dialect
        decode = row.decode_request

        def decode_request(body: bytes, *, model: str | None = None, stream: bool | None = None) -> Call:
            call: Call = decode(body, model=model, stream=stream)
            if keeps:
                # It is kept here; the provider is not asked to.
                call.store = None
            return call

        def encoder(info: AnswerInfo) -> Encoder:
            if info.call is not None:
                call = replace(info.call, store=keeps, previous_response_id=previous)
                info = info._replace(call=call)
            return KeepingEncoder(info, keep) if keeps else Encoder(info)

        def keep(response: dict[str, Json]) -> None:
            # An id of a provider's own is known there.
            if str(response["id"]).startswith(OWN_IDS):
                self._keep(x, asked, previous, response)

        return row._replace(decode_request=decode_request, encoder=encoder)

    def _keep(self, x: Exchange, asked: bytes, previous: str | None, response: dict[str, Json]) -> None:
        """Remember a finished response and have it written."""
        assert x.principal is not None
        response_id = str(response["id"])
        if response_id in self._waiting or response.get("status") == "failed":
            return
        if self._bytes + len(asked) > MOST_WAITING:
            log.warning("A response is not kept: too many wait to be written.", extra={"request_id": x.id})
            return
        now = self._now()
        self._waiting[response_id] = Turn(
            response_id, x.principal.user.id, previous, now, now + self._keep_ms, asked, response
        )
        self._bytes += len(asked)
        if self._writer is None or self._writer.done():
            self._writer = asyncio.get_running_loop().create_task(self._write(), name="stored-responses")

    async def _write(self) -> None:
        """Until nothing waits. What cannot be written is given up: the client has its answer."""
        while self._waiting:
            batch = list(islice(self._waiting.values(), BATCH))
            rows = list(rows_of(batch))
            for left in reversed(range(TRIES)):
                try:
                    await self._table.put(rows)
                    break
                except StoreError as exc:
                    if not left:
                        log.warning(
                            "Responses are not kept.", extra={"error": exc.problem, "count": len(rows)}
                        )
                    else:
                        await asyncio.sleep(TRY_AGAIN_SECONDS)
            for turn in batch:
                # It may have been deleted meanwhile.
                self._waiting.pop(turn.id, None)
                self._bytes -= len(turn.body)

    def _now(self) -> int:
        return int(self._clock() * 1000)

    # What is kept, by its id

    async def read(self, response_id: str, owner: str) -> bytes | None:
        """The response as it was given; None where none is kept for this user. Raises StoreError."""
        waiting = self._waiting.get(response_id)
        if waiting is not None and waiting.owner == owner:
            return orjson.dumps(waiting.response)
        found = await self._table.response(response_id, owner, self._now())
        return None if found is None else found.encode()

    async def input_items(self, response_id: str, owner: str) -> list[dict[str, Json]] | None:
        """What went into the response, from the start of its conversation; None where none is kept for this user. Raises StoreError."""
        response = await self.read(response_id, owner)
        conversation = None if response is None else await self._conversation(response_id, owner)
        if response is None or conversation is None:
            return None
        return input_items(conversation, len(orjson.loads(response).get("output") or []), response_id)

    async def delete(self, response_id: str, owner: str) -> bool:
        """Whether there was one. Nobody can go on from it, or from those after it, any more. Raises StoreError."""
        while response_id in self._waiting and self._writer is not None and not self._writer.done():
            await asyncio.wait((self._writer,))
        return await self._table.delete(response_id, owner, self._now())

    async def close(self) -> None:
        """Write what waits."""
        writer = self._writer
        if writer is not None and not writer.done():
            await asyncio.wait((writer,), timeout=CLOSE_SECONDS)
            writer.cancel()


def rows_of(batch: Sequence[Turn]) -> Iterator[StoredResponse]:
    """Those that can be kept: a provider of the same dialect may take a request that is not readable here."""
    for turn in batch:
        try:
            yield turn.row()
        except (ClientError, ValueError):
            log.warning("A response is not kept: its request cannot be read.", extra={"response": turn.id})


def joined(turns: list[bytes]) -> bytes:
    """JSON arrays as one."""
    return b"[" + b",".join(inner for turn in turns if (inner := turn.strip()[1:-1].strip())) + b"]"
