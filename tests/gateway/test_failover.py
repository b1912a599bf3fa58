"""What a client sees when providers fail: nothing, as long as one of them is well and no content has been sent."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import orjson
import pytest

from tests.fakes.server import Do, Script, ScriptedServer
from tests.gateway.conftest import (
    DONE,
    END,
    HELLO,
    JSON,
    SSE,
    Serve,
    Upstreams,
    answers,
    catalog,
    chat,
    chunk,
    event,
    head,
    message,
    piece,
    refuses,
    streams,
    texts,
    whole,
)

GOOD = {True: streams(*HELLO), False: answers()}

BAD: dict[str, Script] = {
    "500": refuses(500),
    "502 with a page": answers(b"<html>bad gateway</html>", 502, b"Content-Type: text/html\r\n"),
    "503": refuses(503),
    "529": refuses(529),
    "429": refuses(429, type="rate_limit_error"),
    "429 with a time": refuses(429, b"Retry-After: 30\r\n", type="rate_limit_error"),
    "401": refuses(401),
    "402": refuses(402),
    "403": refuses(403),
    "404 for the model": refuses(404, code="model_not_found"),
    "408": refuses(408),
    "409": refuses(409),
    "425": refuses(425),
    "a quota in a 400": refuses(400, code="insufficient_quota", type="insufficient_quota"),
    "no answer": [Do.REQUEST, Do.CLOSE],
    "a reset": [Do.REQUEST, Do.RESET],
    "half a head": [Do.REQUEST, b"HTTP/1.1 200 OK\r\nContent-", Do.CLOSE],
    "no HTTP": [Do.REQUEST, b"SSH-2.0-OpenSSH\r\n\r\n", Do.STALL],
    "silence": [Do.REQUEST, Do.STALL],
}
BAD_WHOLE: dict[str, Script] = {
    "a body cut short": [
        Do.REQUEST,
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n" + whole(),
        Do.CLOSE,
    ],
    "a chunked body cut short": [Do.REQUEST, head(headers=JSON), piece(whole()[:40]), Do.CLOSE],
    "half a JSON": answers(whole()[:60]),
    "a page": answers(b"<html></html>", 200, b"Content-Type: text/html\r\n"),
    "silence midway": [Do.REQUEST, head(headers=JSON), piece(whole()[:40]), Do.STALL],
    "an error with status 200": answers(b'{"error": {"message": "overloaded", "code": 529}}'),
}
BAD_STREAM: dict[str, Script] = {
    "an error in the first frame": streams(event({"error": {"message": "overloaded", "code": 529}})),
    "an error behind a role": streams(chunk(), event({"error": {"message": "boom", "type": "server_error"}})),
    "a stream cut before content": streams(chunk(), close=Do.CLOSE),
    "a stream reset before content": streams(chunk(), close=Do.RESET),
    "a stream that ends before content": streams(chunk()),
    "an empty stream": streams(),
    "silence before content": streams(chunk(), close=Do.STALL),
    "broken chunks before content": [Do.REQUEST, head(), b"zz\r\n", Do.STALL],
    "a JSON error with status 200": answers(b'{"error": {"message": "overloaded", "code": 529}}'),
    "half a JSON answer": answers(whole()[:60]),
}


async def fail_over(serve: Serve, bad: ScriptedServer, good: ScriptedServer, stream: bool) -> None:
    rig = await serve(catalog(bad, good, timeouts={"connect": 0.2, "first_byte": 0.2, "idle": 0.2}))
    answer, body = await rig.ask(chat(stream))
    assert answer.status == 200, body
    assert answer.headers["x-apipod-attempts"] == "2"
    assert answer.headers["x-apipod-model"] == "m1"
    if stream:
        assert texts(body) == "Hello"
        assert body.endswith(DONE)
    else:
        assert orjson.loads(body)["choices"][0]["message"]["content"] == "Hello"
    row = await rig.row()
    assert (row["outcome"], row["routed_model"], len(row["attempts"])) == ("ok", "m1", 2)
    assert (row["input_tokens"], row["output_tokens"], row["cost_nano"]) == (7, 3, 7 * 1000 + 3 * 2000)
    assert set(rig.gauges().values()) == {0}


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("fault", BAD)
async def test_a_failing_provider_goes_unnoticed(
    serve: Serve, upstream: Upstreams, fault: str, stream: bool
) -> None:
    await fail_over(serve, await upstream(BAD[fault]), await upstream(GOOD[stream]), stream)


@pytest.mark.parametrize("fault", BAD_WHOLE)
async def test_a_broken_whole_answer_goes_unnoticed(serve: Serve, upstream: Upstreams, fault: str) -> None:
    await fail_over(serve, await upstream(BAD_WHOLE[fault]), await upstream(GOOD[False]), False)


@pytest.mark.parametrize("fault", BAD_STREAM)
async def test_a_stream_that_fails_before_its_content_goes_unnoticed(
    serve: Serve, upstream: Upstreams, fault: str
) -> None:
    await fail_over(serve, await upstream(BAD_STREAM[fault]), await upstream(GOOD[True]), True)


async def test_a_provider_that_cannot_be_reached_goes_unnoticed(serve: Serve, upstream: Upstreams) -> None:
    gone = await upstream([])
    gone._server.close()
    await fail_over(serve, gone, await upstream(GOOD[True]), True)


async def test_a_provider_that_takes_no_connection_goes_unnoticed(
    serve: Serve, upstream: Upstreams, deaf: str
) -> None:
    rig = await serve(
        catalog(
            deaf,
            await upstream(GOOD[False]),
            timeouts={"connect": 0.2, "first_byte": 1, "idle": 1},
        )
    )
    begun = time.monotonic()
    answer, _ = await rig.ask(chat())
    assert answer.status == 200
    assert time.monotonic() - begun < 1
    assert (await rig.row())["attempts"][0]["outcome"] == "timeout (connect)"


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, {"code": "context_length_exceeded"}),
        (413, {"type": "request_too_large"}),
        (422, {"type": "invalid_request_error"}),
    ],
)
async def test_a_request_that_is_rejected_itself_is_sent_once(
    serve: Serve, upstream: Upstreams, status: int, error: dict[str, Any]
) -> None:
    first, second = await upstream(refuses(status, **error)), await upstream(GOOD[False])
    rig = await serve(catalog(first, second))
    answer, body = await rig.ask(chat())
    assert answer.status == status
    assert orjson.loads(body)["error"]["message"] == "no"
    assert not second.peers
    row = await rig.row()
    assert (row["outcome"], row["status"], row["output_tokens"], row["cost_nano"]) == ("failed", status, 0, 0)


REJECTED = {"error": {"message": "up is not for up-key-0", "type": "invalid_request_error", "code": 400}}


@pytest.mark.parametrize(
    ("script", "stream"),
    [
        pytest.param(streams(event(REJECTED)), True, id="in the first frame"),
        pytest.param(answers(orjson.dumps(REJECTED)), True, id="whole, to a stream"),
        pytest.param(answers(orjson.dumps(REJECTED)), False, id="whole"),
    ],
)
async def test_a_rejection_within_an_answer_is_one_too_and_tells_no_secrets(
    serve: Serve, upstream: Upstreams, script: Script, stream: bool
) -> None:
    first, second = await upstream(script), await upstream(GOOD[stream])
    rig = await serve(catalog(first, second))
    answer, body = await rig.ask(chat(stream))
    assert answer.status == 400
    assert orjson.loads(body)["error"]["message"] == "x is not for ***"
    assert not second.peers


async def test_an_error_midway_tells_no_secrets(serve: Serve, upstream: Upstreams) -> None:
    failing = await upstream(streams(chunk(content="Hel"), event(REJECTED)))
    _, body = await (await serve(catalog(failing))).ask(chat(True))
    assert b"x is not for ***" in body
    assert b"up-key-0" not in body


FINAL = {
    "500": (refuses(500), 502, None),
    "401": (refuses(401), 502, None),
    "no answer": ([Do.REQUEST, Do.CLOSE], 502, None),
    "429": (refuses(429, b"Retry-After: 7\r\n"), 429, "7"),
    "529": (refuses(529), 503, None),
    "silence": ([Do.REQUEST, Do.STALL], 504, None),
}


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("fault", FINAL)
async def test_when_nobody_is_left_the_last_failure_is_told(
    serve: Serve, upstream: Upstreams, fault: str, stream: bool
) -> None:
    script, status, retry_after = FINAL[fault]
    rig = await serve(
        catalog(await upstream(script), timeouts={"connect": 0.2, "first_byte": 0.2, "idle": 0.2})
    )
    answer, body = await rig.ask(chat(stream))
    assert answer.status == status
    assert answer.headers.get("retry-after") == retry_after
    error = orjson.loads(body)["error"]
    assert "up-key-0" not in error["message"]
    assert answer.headers["content-type"] == "application/json"
    row = await rig.row()
    assert (row["outcome"], row["status"]) == ("failed", status)


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
async def test_an_error_within_an_answer_costs_as_little_as_one_with_a_status(
    serve: Serve, upstream: Upstreams, stream: bool
) -> None:
    error = {"error": {"message": "overloaded", "code": 529}}
    script = streams(event(error)) if stream else answers(orjson.dumps(error))
    rig = await serve(catalog(await upstream(script), await upstream(GOOD[stream])))
    assert (await rig.ask(chat(stream)))[0].status == 200
    row = await rig.row()
    assert set(row["attempts"][0]["usage"].values()) == {0}
    assert (row["attempts"][1]["outcome"], row["input_tokens"]) == ("ok", 7)


SOUND = [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}]


@pytest.mark.parametrize("waits", [0, 0.1])
async def test_who_cannot_carry_a_request_does_not_hide_why_others_failed(
    serve: Serve, upstream: Upstreams, waits: float
) -> None:
    config = catalog(await upstream(refuses(500)), await upstream(answers()), route={"max_wait": waits})
    config["providers"]["p1"]["type"] = "anthropic"
    rig = await serve(config)
    body = chat(messages=[{"role": "user", "content": SOUND}])
    answer, told = await rig.ask(body)
    assert (answer.status, b"cannot" in told) == (502, False)
    config["models"]["m0"]["limits"] = {"rpm": {"limit": 1, "burst": 1}}
    rig = await serve(config)
    await rig.ask(body)
    answer, told = await rig.ask(body)
    assert (answer.status, b"rpm limit of 1 of the model" in told) == (429, True)


async def test_parked_providers_are_not_asked_until_their_time(serve: Serve, upstream: Upstreams) -> None:
    parked = await upstream(refuses(429, b"Retry-After: 60\r\n"))
    rig = await serve(catalog(parked, await upstream(GOOD[False])))
    for _ in range(4):
        answer, _ = await rig.ask(chat())
        assert answer.status == 200
    assert parked.received.count(b"POST ") == 1
    assert [row["attempts"][0]["outcome"] for row in await rig.rows(4)] == ["status 429", "ok", "ok", "ok"]


async def test_with_every_provider_parked_the_answer_is_503_with_the_time_to_wait(
    serve: Serve, upstream: Upstreams
) -> None:
    rig = await serve(catalog(await upstream(refuses(429, b"Retry-After: 60\r\n"))))
    await rig.ask(chat())
    answer, body = await rig.ask(chat())
    assert answer.status == 503
    assert 58 <= int(answer.headers["retry-after"]) <= 60
    assert orjson.loads(body)["error"]["code"] == "no_provider_available"
    answer, body = await rig.ask(message(), "/v1/messages")
    assert answer.status == 529
    assert orjson.loads(body)["error"]["type"] == "overloaded_error"
    assert [row["outcome"] for row in await rig.rows(3)] == ["failed", "refused", "refused"]


async def test_a_refused_credential_disables_its_account_until_its_key_changes(
    serve: Serve, upstream: Upstreams
) -> None:
    refused = await upstream(refuses(401))
    rig = await serve(catalog(refused, await upstream(GOOD[False])))
    for _ in range(3):
        answer, _ = await rig.ask(chat())
        assert answer.status == 200
    assert refused.received.count(b"POST ") == 1
    states = rig.server.upstream_health.status(asyncio.get_running_loop().time())
    assert [state["provider"] for state in states if state["state"] == "disabled"] == ["p0"]


async def test_a_403_that_a_request_can_bring_about_disables_nobody(
    serve: Serve, upstream: Upstreams
) -> None:
    moderated = await upstream(refuses(403))
    rig = await serve(catalog(moderated, await upstream(GOOD[False])))
    for _ in range(3):
        await rig.ask(chat())
    assert moderated.received.count(b"POST ") == 3


async def test_a_quota_that_models_share_parks_the_whole_account(serve: Serve, upstream: Upstreams) -> None:
    limited = await upstream(refuses(429, b"Retry-After: 60\r\n"))
    names = {"a": {"provider": "p0", "upstream_model": "a"}, "b": {"provider": "p0", "upstream_model": "b"}}
    for shared, asked in (("false", 2), ("true", 3)):
        config = catalog(limited, options={"quota_shared": shared})
        config["models"] = names
        config["subscriptions"] = {"s": {}}
        rig = await serve(config)
        for name in names:
            await rig.ask(chat(model=name))
        assert limited.received.count(b"POST ") == asked


async def test_the_same_provider_is_asked_again_after_a_pause_when_there_is_no_other(
    serve: Serve, upstream: Upstreams
) -> None:
    flaky = await upstream(
        [
            Do.REQUEST,
            *refuses(503)[1:2],
            Do.REQUEST,
            *refuses(503)[1:2],
            *answers()[:2],
            *[Do.STALL],
        ]
    )
    rig = await serve(catalog(flaky, retries={"attempts": 3, "base": 0.01, "max": 0.02}))
    answer, _ = await rig.ask(chat())
    assert answer.status == 200
    assert answer.headers["x-apipod-attempts"] == "3"


async def test_a_provider_that_keeps_failing_is_asked_as_often_as_its_catalog_says(
    serve: Serve, upstream: Upstreams
) -> None:
    broken = await upstream(refuses(500))
    rig = await serve(catalog(broken, retries={"attempts": 3, "base": 0.01, "max": 0.02}))
    answer, _ = await rig.ask(chat())
    assert answer.status == 502
    assert broken.received.count(b"POST ") == 3


async def test_an_open_breaker_keeps_requests_away_and_one_at_a_time_tries_it(
    serve: Serve, upstream: Upstreams
) -> None:
    broken = await upstream(refuses(500))
    rig = await serve(catalog(broken, await upstream(GOOD[False]), breaker={"failures": 3, "open": 0.3}))
    for _ in range(10):
        answer, _ = await rig.ask(chat())
        assert answer.status == 200
    assert broken.received.count(b"POST ") == 3
    await asyncio.sleep(0.35)
    for _ in range(5):
        await rig.ask(chat())
    assert broken.received.count(b"POST ") == 4


async def test_when_all_breakers_are_open_the_one_open_longest_is_tried(
    serve: Serve, upstream: Upstreams
) -> None:
    first, second = await upstream(refuses(500)), await upstream(refuses(500))
    rig = await serve(catalog(first, second, breaker={"failures": 1, "open": 30}))
    await rig.ask(chat())
    answer, _ = await rig.ask(chat())
    assert answer.status == 502
    assert first.received.count(b"POST ") == 2
    assert second.received.count(b"POST ") == 1


async def test_another_account_is_asked_before_another_model(serve: Serve, upstream: Upstreams) -> None:
    broken, good = await upstream(refuses(500)), await upstream(GOOD[False])
    accounts = [{"name": name, "api_key": f"key-{name}"} for name in "ab"]
    config = catalog(broken, good)
    config["providers"]["p0"] = {**config["providers"]["p0"], "accounts": accounts}
    del config["providers"]["p0"]["api_key"]
    rig = await serve(config)
    await rig.ask(chat())
    row = await rig.row()
    assert [attempt["model"] for attempt in row["attempts"]] == ["m0", "m0", "m1"]
    assert {attempt["account"] for attempt in row["attempts"][:2]} == {"a", "b"}


async def test_what_no_provider_can_serve_is_told_before_anybody_is_asked(
    serve: Serve, upstream: Upstreams
) -> None:
    server = await upstream(GOOD[False])
    config = catalog(server)
    config["models"]["m0"]["capabilities"] = ["tools"]
    rig = await serve(config)
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    answer, body = await rig.ask(chat(messages=[{"role": "user", "content": [image]}]))
    assert answer.status == 400
    assert "vision" in orjson.loads(body)["error"]["message"]
    assert not server.peers


async def test_keys_and_names_of_the_upstream_stay_out_of_its_errors(
    serve: Serve, upstream: Upstreams
) -> None:
    said = "The model up is not for up-key-0, nor for sk-abcdefghijklmnop."
    config = catalog(await upstream(refuses(400, message=said, type="invalid_request_error")))
    config["models"]["m0"]["upstream_model"] = "up"
    rig = await serve(config)
    _, body = await rig.ask(chat())
    told = orjson.loads(body)["error"]["message"]
    assert "up-key-0" not in told
    assert "sk-abcdefghijklmnop" not in told
    assert "model x" in told


async def test_a_key_that_is_no_secret_leaves_the_words_of_an_error_alone(
    serve: Serve, upstream: Upstreams
) -> None:
    server = await upstream(refuses(400, message="Extra inputs are wrong.", type="invalid_request_error"))
    config = catalog(server)
    config["providers"]["p0"]["api_key"] = "x"
    rig = await serve(config)
    _, body = await rig.ask(chat())
    assert orjson.loads(body)["error"]["message"] == "Extra inputs are wrong."


async def test_sse_is_understood_where_json_was_asked_for(serve: Serve, upstream: Upstreams) -> None:
    rig = await serve(catalog(await upstream(streams(*HELLO))))
    answer, body = await rig.ask(chat())
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("application/json")
    told = orjson.loads(body)
    assert told["choices"][0]["message"]["content"] == "Hello"
    assert (told["model"], told["usage"]["total_tokens"]) == ("x", 10)


async def test_json_is_understood_where_a_stream_was_asked_for(serve: Serve, upstream: Upstreams) -> None:
    rig = await serve(catalog(await upstream(answers())))
    answer, body = await rig.ask(chat(stream=True))
    assert answer.headers["content-type"] == "text/event-stream"
    assert texts(body) == "Hello"
    assert body.endswith(DONE)
    row = await rig.row()
    assert (row["outcome"], row["output_tokens"]) == ("ok", 3)


async def test_an_answer_in_event_stream_without_events_is_no_answer(
    serve: Serve, upstream: Upstreams
) -> None:
    script = [Do.REQUEST, head(headers=SSE), END, Do.AGAIN]
    rig = await serve(catalog(await upstream(script)))
    answer, body = await rig.ask(chat(stream=True))
    assert answer.status == 502
    assert body
