"""The handlers of completions, in front of a gateway that does what the test says."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping

import orjson
import pytest

from apipod_proxy.auth import Principal
from apipod_proxy.catalog.model import ApiKey, Role, Subscription, User
from apipod_proxy.dialect.table import DIALECTS
from apipod_proxy.edge.answer import Answer
from apipod_proxy.edge.body import BodyReader
from apipod_proxy.edge.cors import Cors
from apipod_proxy.edge.ids import RequestIds
from apipod_proxy.edge.middleware import CLIENT_GONE
from apipod_proxy.edge.surface import Completions, Hall
from apipod_proxy.errors import LimitExceeded, Unauthenticated
from apipod_proxy.exchange import Exchange, Outcome
from tests.edge.conftest import Serve, Served

Complete = Callable[[Exchange, Answer], Awaitable[None]]

BODY = b'{"model": "m", "stream": true, "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}'
CALLER = Principal(
    ApiKey("k", "alice", "laptop", b""), User("u", "alice", "pro", Role.ADMIN), Subscription("s", "pro", {})
)


class Scripted:
    """A gateway whose one act is given."""

    def __init__(self, act: Complete) -> None:
        self._act = act

    async def complete(self, x: Exchange, client: Answer) -> None:
        await self._act(x, client)


async def answers(x: Exchange, client: Answer) -> None:
    x.outcome = Outcome.OK
    client.send(200, b"application/json", b"{}")


class Desk:
    """A served surface, and what was booked on it."""

    def __init__(self, served: Served, booked: list[Exchange]) -> None:
        self.served = served
        self.booked = booked

    async def ask(self, body: bytes = BODY, *headers: bytes, path: bytes = b"/chat") -> bytes:
        lines = b"".join(line + b"\r\n" for line in (b"Authorization: Bearer good", *headers))
        head = b"POST %b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n%bContent-Length: %d\r\n\r\n"
        return await self.served.say(head % (path, lines, len(body)) + body)


@pytest.fixture
def desk(serve: Serve) -> Callable[..., Awaitable[Desk]]:
    async def open_desk(act: Complete = answers, dialect: str = "openai_chat") -> Desk:
        booked: list[Exchange] = []

        def identify(name: str, headers: Mapping[str, str], query: Mapping[str, str], now: int) -> Principal:
            if headers.get("authorization") != "Bearer good":
                raise Unauthenticated(Unauthenticated.UNKNOWN)
            return CALLER

        hall = Hall(
            gateway=Scripted(act),
            identify=identify,
            catalog=lambda: CALLER,
            bodies=BodyReader(1),
            new_id=RequestIds(os.urandom),
            book=booked.append,
            clock=time.time,
            now=asyncio.get_running_loop().time,
            remote=lambda request: "1.2.3.4",
            cors=Cors(("https://app.example.com",)).headers,
        )
        completions = Completions(hall, DIALECTS[dialect])

        return Desk(await serve(hot={"/chat": completions.handle}), booked)

    return open_desk


OpenDesk = Callable[..., Awaitable[Desk]]


async def test_a_request_is_read_answered_and_booked_once(desk: OpenDesk) -> None:
    it = await desk()
    said = await it.ask(
        BODY, b"x-request-id: mine", b"OpenAI-Beta: a", b"x-secret: b", path=b"/chat?vendor=groq"
    )
    assert said.startswith(b"HTTP/1.1 200")
    (x,) = it.booked
    assert (x.requested_model, x.streamed, x.narrowed_to) == ("m", True, "groq")
    assert (x.client_request_id, x.remote, x.principal) == ("mine", "1.2.3.4", CALLER)
    assert x.forwarded == (("openai-beta", "a"),)
    assert (x.status, x.outcome) == (200, Outcome.OK)
    assert x.answered_at is not None


async def test_a_request_of_responses_on_the_path_of_chat_is_read_as_chat(desk: OpenDesk) -> None:
    it = await desk()
    said = await it.ask(b'{"model": "m", "stream": true, "input": [{"role": "user", "content": "x"}]}')
    assert said.startswith(b"HTTP/1.1 200")
    (x,) = it.booked
    assert (x.requested_model, x.streamed, x.dialect.name) == ("m", True, "openai_chat")
    assert orjson.loads(x.body)["messages"] == [{"role": "user", "content": "x"}]
    other = await desk(dialect="anthropic")
    for body in (b'{"model": "m", "max_tokens": 1, "input": "x"}', b'{"model": "m", "max_tokens": 1}'):
        assert b'"$.messages' in (await other.ask(body)).replace(b"`", b'"')
    assert b"This field is required - at `$.messages`" in await it.ask(b'{"model": "m"}')


async def test_the_header_narrows_before_the_query_does(desk: OpenDesk) -> None:
    it = await desk()
    await it.ask(BODY, b"x-apipod-provider: openai", path=b"/chat?vendor=groq")
    assert it.booked[0].narrowed_to == "openai"


@pytest.mark.parametrize("dialect", ["openai_chat", "anthropic"])
async def test_a_refusal_is_an_answer_in_the_dialect_and_is_booked(desk: OpenDesk, dialect: str) -> None:
    async def refuse(x: Exchange, client: Answer) -> None:
        raise LimitExceeded("rpm", "key", 7, 60)

    it = await desk(refuse, dialect)
    head, _, body = (await it.ask()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 429")
    assert b"retry-after: 7" in head
    assert ("type" in orjson.loads(body)) is (dialect == "anthropic")
    assert (it.booked[0].outcome, it.booked[0].status) == (Outcome.REFUSED, 429)


async def test_a_stranger_is_refused_before_a_byte_of_the_body(desk: OpenDesk) -> None:
    it = await desk()
    said = await it.served.say(b"POST /chat HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n", wait=2)
    assert said.startswith(b"HTTP/1.1 401")
    assert b"connection: close" in said
    assert not said.endswith(b"<open>")
    assert it.booked[0].body == b""


async def test_an_unforeseen_error_is_told_as_nothing_and_cuts_what_has_begun(desk: OpenDesk) -> None:
    async def early(x: Exchange, client: Answer) -> None:
        raise RuntimeError("a secret")

    async def late(x: Exchange, client: Answer) -> None:
        client.begin_stream()
        client.write(b"data: 1\n\n")
        raise RuntimeError("a secret")

    said = await (await desk(early)).ask()
    assert said.startswith(b"HTTP/1.1 500")
    assert b"secret" not in said
    it = await desk(late)
    cut = await it.ask()
    assert b"0\r\n\r\n" not in cut
    assert b"secret" not in cut
    assert it.booked[0].outcome == Outcome.REFUSED


async def test_a_client_that_leaves_is_booked_as_gone(desk: OpenDesk) -> None:
    begun = asyncio.Event()

    async def wait(x: Exchange, client: Answer) -> None:
        begun.set()
        await asyncio.sleep(10)

    it = await desk(wait)
    _, writer = await asyncio.open_connection("127.0.0.1", it.served.port)
    head = b"POST /chat HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer good\r\nContent-Length: %d\r\n\r\n"
    writer.write(head % len(BODY) + BODY)
    await begun.wait()
    writer.close()
    async with asyncio.timeout(1):
        while not it.booked:
            await asyncio.sleep(0.005)
    assert (it.booked[0].outcome, it.booked[0].status) == (Outcome.CANCELLED, CLIENT_GONE)


async def test_pages_of_allowed_origins_may_read_every_answer(desk: OpenDesk) -> None:
    it = await desk()
    for body in (BODY, b"no json"):
        said = await it.ask(body, b"Origin: https://app.example.com")
        assert b"access-control-allow-origin: https://app.example.com\r\n" in said
    assert b"access-control" not in await it.ask(BODY, b"Origin: https://evil.example.com")
