from __future__ import annotations

import pytest
from aiohttp import web

from apipod_proxy.edge.middleware import BOOKED
from apipod_proxy.errors import LimitExceeded, NoCandidate
from tests.edge.conftest import Serve


def get(path: bytes, *headers: bytes, method: bytes = b"GET") -> bytes:
    lines = b"".join(header + b"\r\n" for header in headers)
    return method + b" " + path + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + lines + b"\r\n"


async def test_every_answer_has_an_id_of_the_gateway_and_its_name(serve: Serve) -> None:
    served = await serve()
    answer = await served.say(get(b"/echo", b"x-request-id: mine", method=b"POST"))
    assert b"x-request-id: req_" in answer
    assert b"server: apipod-proxy\r\n" in answer
    seen = served.seen[0]
    assert seen.client_request_id == "mine"
    assert seen.request_id.encode() in answer
    assert (seen.method, seen.path, seen.status, seen.error) == ("POST", "/echo", 200, None)


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        (b"/admin/keys/apk_0123456789abcdefghijklmnop", "/admin/keys/apk_01234567…"),
        (b"/admin/keys/apk_0123456789abcdefghijklmnop/rotate", "/admin/keys/apk_01234567…/rotate"),
        (b"/admin/keys/short", "/admin/keys/sh…"),
        (b"/admin/keys", "/admin/keys"),
    ],
)
async def test_a_key_in_a_path_is_not_kept_whole(serve: Serve, asked: bytes, kept: str) -> None:
    served = await serve()
    await served.say(get(asked))
    assert [seen.path for seen in served.seen] == [kept]


async def test_anthropic_clients_read_the_id_as_request_id_too(serve: Serve) -> None:
    served = await serve()
    answer = await served.say(get(b"/nowhere", b"anthropic-version: 2023-06-01"))
    assert b"\r\nrequest-id: req_" in answer
    assert b'{"type":"error"' in answer


async def test_an_unknown_path_is_a_404_that_does_not_repeat_it(serve: Serve) -> None:
    served = await serve()
    answer = await served.say(get(b"/no%0d%0aX-Evil:%20yes"))
    assert answer.startswith(b"HTTP/1.1 404")
    assert b"Evil" not in answer


async def test_a_wrong_method_is_a_405_that_names_the_right_one(serve: Serve) -> None:
    served = await serve()
    answer = await served.say(get(b"/echo"))
    assert answer.startswith(b"HTTP/1.1 405")
    assert b"allow: POST\r\n" in answer.replace(b"Allow", b"allow")


async def test_errors_of_handlers_are_answered_as_what_they_are(serve: Serve) -> None:
    async def limited(request: web.Request) -> web.Response:
        raise LimitExceeded("rpm", "key", 7, 60)

    async def busy(request: web.Request) -> web.Response:
        raise NoCandidate("m", 3)

    served = await serve({"/limited": limited, "/busy": busy})
    refused = await served.say(get(b"/limited", method=b"POST"))
    assert refused.startswith(b"HTTP/1.1 429")
    assert b"retry-after: 7\r\n" in refused
    claude = await served.say(get(b"/busy", b"anthropic-version: 1", method=b"POST"))
    assert claude.startswith(b"HTTP/1.1 529 Overloaded")
    assert [type(seen.error) for seen in served.seen] == [LimitExceeded, NoCandidate]


async def test_what_is_not_foreseen_is_logged_and_told_as_nothing(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(request: web.Request) -> web.Response:
        raise RuntimeError("secret detail")

    served = await serve({"/broken": broken})
    answer = await served.say(get(b"/broken", method=b"POST"))
    assert answer.startswith(b"HTTP/1.1 500")
    assert b"secret detail" not in answer
    assert b"Something went wrong in the gateway" in answer
    assert "secret detail" in caplog.text


async def test_odd_exceptions_of_aiohttp_keep_their_status_class(serve: Serve) -> None:
    async def odd(request: web.Request) -> web.Response:
        raise web.HTTPUnsupportedMediaType

    served = await serve({"/odd": odd})
    assert (await served.say(get(b"/odd", method=b"POST"))).startswith(b"HTTP/1.1 400")


async def test_a_preflight_is_answered_for_allowed_origins_alone(serve: Serve) -> None:
    served = await serve(origins=("https://app.example.com",))
    ask = (
        b"access-control-request-method: POST",
        b"access-control-request-headers: authorization, x-stainless-os",
    )
    allowed = await served.say(get(b"/echo", b"origin: https://app.example.com", *ask, method=b"OPTIONS"))
    assert allowed.startswith(b"HTTP/1.1 204")
    assert b"access-control-allow-origin: https://app.example.com\r\n" in allowed
    assert b"authorization, x-stainless-os" in allowed
    refused = await served.say(get(b"/echo", b"origin: https://evil.example.com", *ask, method=b"OPTIONS"))
    assert refused.startswith(b"HTTP/1.1 405")
    answer = await served.say(get(b"/echo", b"origin: https://app.example.com", method=b"POST"))
    assert b"access-control-allow-origin: https://app.example.com\r\n" in answer


async def test_a_request_that_its_handler_books_is_not_told_twice(serve: Serve) -> None:
    async def books(request: web.Request) -> web.Response:
        request[BOOKED] = True
        return web.Response()

    served = await serve({"/books": books})
    assert (await served.say(get(b"/books", method=b"POST"))).startswith(b"HTTP/1.1 200")
    assert served.seen == []
