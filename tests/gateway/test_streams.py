"""What a stream owes its client: whole events at once, pings between them, and an end that says whether it was whole."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from pathlib import Path

import orjson
import pytest

from tests.fakes.server import Do, Flood
from tests.gateway.conftest import (
    DONE,
    END,
    HELLO,
    KEY,
    USAGE,
    Rig,
    Serve,
    Upstreams,
    catalog,
    chat,
    chunk,
    event,
    events,
    head,
    message,
    piece,
    refuses,
    streams,
    texts,
    until,
)

USAGE_ASKED = {"stream_options": {"include_usage": True}}


async def raw(
    rig: Rig, body: object, path: str = "/v1/chat/completions", version: str = "1.1"
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A request on a socket of its own."""
    data = orjson.dumps(body)
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.port, limit=1 << 16)
    writer.write(
        f"POST {path} HTTP/{version}\r\nHost: h\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Length: {len(data)}\r\n\r\n".encode()
        + data
    )
    return reader, writer


async def test_a_whole_stream_arrives_whole_under_the_name_that_was_asked_for(
    serve: Serve, upstream: Upstreams
) -> None:
    rig = await serve(catalog(await upstream(streams(*HELLO))))
    answer, body = await rig.ask(chat(True))
    assert body == b"".join(HELLO[:4]).replace(b'"up"', b'"x"') + DONE
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-accel-buffering"] == "no"
    row = await rig.row()
    assert (row["input_tokens"], row["output_tokens"], row["estimated"]) == (7, 3, 0)
    _, body = await rig.ask(chat(True, **USAGE_ASKED))
    assert body == b"".join(HELLO).replace(b'"up"', b'"x"')


async def test_events_leave_as_they_arrive(serve: Serve, upstream: Upstreams) -> None:
    server = await upstream(
        streams(*(chunk(f"{n}") for n in range(12)), chunk(finish="stop"), DONE, gap=0.05)
    )
    rig = await serve(catalog(server))
    times = []
    async with rig.post(chat(True)) as answer:
        async for line in answer.content:
            if b'"content":"' in line:
                times.append(time.monotonic())
    gaps = [later - earlier for earlier, later in pairwise(times[:12])]
    assert sorted(gaps)[len(gaps) // 2] == pytest.approx(0.05, abs=0.02)
    assert times[11] - times[0] == pytest.approx(0.55, abs=0.1)


BROKEN = {
    "close": Do.CLOSE,
    "reset": Do.RESET,
    "silence": Do.STALL,
}


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
async def test_a_stream_that_breaks_off_after_content_says_so_and_is_not_replayed(
    serve: Serve, upstream: Upstreams, how: str, path: str
) -> None:
    broken, good = (
        await upstream(streams(chunk(), chunk("Hel"), close=BROKEN[how])),
        await upstream(streams(*HELLO)),
    )
    rig = await serve(catalog(broken, good, timeouts={"connect": 1, "first_byte": 1, "idle": 0.2}))
    body = message(True) if path == "/v1/messages" else chat(True)
    begun = time.monotonic()
    answer, data = await rig.ask(body, path)
    # The time to the first byte is longer than a pause may be, and must not be what counts.
    assert time.monotonic() - begun < 0.9
    assert answer.status == 200
    assert b"Hel" in data
    assert b"[DONE]" not in data
    assert b"message_stop" not in data
    last = orjson.loads(events(data)[-1])
    assert last["error"]["message"]
    if path == "/v1/messages":
        assert last["type"] == "error"
        assert b"event: error\n" in data
    assert not good.peers
    row = await rig.row()
    assert (row["outcome"], row["status"]) == ("truncated", 200)
    assert row["attempts"][0]["outcome"] == ("timeout (idle)" if how == "silence" else "broken answer")
    assert row["estimated"] == 1
    assert row["output_tokens"] > 0
    assert set(rig.gauges().values()) == {0}


async def test_an_error_event_after_content_ends_the_stream_in_the_clients_dialect(
    serve: Serve, upstream: Upstreams
) -> None:
    failing = event({"error": {"message": "engine up died", "type": "server_error"}})
    rig = await serve(catalog(await upstream(streams(chunk(), chunk("Hel"), failing))))
    _, data = await rig.ask(message(True), "/v1/messages")
    last = orjson.loads(events(data)[-1])
    assert (last["type"], last["error"]["type"]) == ("error", "api_error")
    _, data = await rig.ask(chat(True))
    assert b"[DONE]" not in data
    assert "error" in orjson.loads(events(data)[-1])


async def test_broken_framing_after_content_is_an_error(serve: Serve, upstream: Upstreams) -> None:
    script = [Do.REQUEST, head(), piece(chunk("Hel")), b"zz\r\n", Do.STALL]
    rig = await serve(catalog(await upstream(script)))
    _, data = await rig.ask(chat(True))
    assert texts(data) == "Hel"
    assert "error" in orjson.loads(events(data)[-1])


async def test_a_missing_done_is_added(serve: Serve, upstream: Upstreams) -> None:
    rig = await serve(catalog(await upstream(streams(*HELLO[:-1]))))
    _, data = await rig.ask(chat(True))
    assert data.endswith(chunk(finish="stop").replace(b'"up"', b'"x"') + DONE)
    assert (await rig.row())["outcome"] == "ok"


@pytest.mark.parametrize("close", [Do.RESET, Do.CLOSE, Do.STALL])
async def test_what_happens_after_the_end_is_no_error(serve: Serve, upstream: Upstreams, close: Do) -> None:
    rig = await serve(catalog(await upstream(streams(*HELLO, close=close))))
    begun = time.monotonic()
    _, data = await rig.ask(chat(True))
    assert time.monotonic() - begun < 0.9
    assert data.endswith(DONE)
    row = await rig.row()
    assert (row["outcome"], row["attempts"][0]["outcome"], row["output_tokens"]) == ("ok", "ok", 3)


async def test_a_reset_after_the_finish_reason_is_no_error(serve: Serve, upstream: Upstreams) -> None:
    rig = await serve(catalog(await upstream(streams(*HELLO[:4], close=Do.RESET))))
    _, data = await rig.ask(chat(True))
    assert data.endswith(DONE)
    assert (await rig.row())["outcome"] == "ok"


async def test_a_frame_that_is_no_json_is_passed_on_and_skipped_in_translation(
    serve: Serve, upstream: Upstreams
) -> None:
    odd = event(b"{oops")
    rig = await serve(catalog(await upstream(streams(*HELLO[:2], odd, *HELLO[2:]))))
    _, data = await rig.ask(chat(True))
    assert odd in data
    assert data.endswith(DONE)
    _, data = await rig.ask(message(True), "/v1/messages")
    assert b"oops" not in data
    assert b'"text":"lo"' in data
    assert b"message_stop" in data


async def test_pings_come_between_whole_events_only_and_failover_goes_on_behind_them(
    serve: Serve, upstream: Upstreams
) -> None:
    silent = await upstream([Do.REQUEST, head(), piece(chunk()), Do.STALL])
    half = chunk("Hel")
    slow = await upstream(
        [
            Do.REQUEST,
            head(),
            piece(half[:20]),
            0.25,
            piece(half[20:]),
            piece(chunk("lo")[:20]),
            0.25,
            piece(chunk("lo")[20:] + chunk(finish="stop") + DONE),
            END,
        ]
    )
    rig = await serve(
        catalog(silent, slow, timeouts={"connect": 1, "first_byte": 1, "idle": 0.3}), PING_SECONDS="0.1"
    )
    begun = time.monotonic()
    async with rig.post(chat(True)) as answer:
        assert time.monotonic() - begun < 0.29
        data = await answer.read()
    assert texts(data) == "Hello"
    frames = data.split(b"\n\n")
    assert frames.count(b": ping") >= 5
    assert all(frame == b": ping" or b": ping" not in frame for frame in frames)
    assert data.endswith(DONE)
    row = await rig.row()
    assert [attempt["outcome"] for attempt in row["attempts"]] == ["timeout (idle)", "ok"]
    assert row["routed_model"] == "m1"


async def test_after_a_ping_a_failure_of_all_is_told_in_the_stream(serve: Serve, upstream: Upstreams) -> None:
    silent = await upstream([Do.REQUEST, Do.STALL])
    timeouts = {"connect": 1, "first_byte": 0.3, "idle": 1}
    rig = await serve(catalog(silent, timeouts=timeouts), PING_SECONDS="0.1")
    answer, data = await rig.ask(message(True), "/v1/messages")
    assert answer.status == 200
    assert b'event: ping\ndata: {"type": "ping"}' in data or b'event: ping\ndata: {"type":"ping"}' in data
    assert orjson.loads(events(data)[-1])["type"] == "error"
    row = await rig.row()
    assert (row["outcome"], row["status"]) == ("failed", 200)


async def test_gemini_clients_get_no_pings(serve: Serve, upstream: Upstreams) -> None:
    slow = await upstream([Do.REQUEST, head(), 0.3, *(piece(one) for one in HELLO), END])
    rig = await serve(catalog(slow), PING_SECONDS="0.1")
    body = {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}
    _, data = await rig.ask(body, "/v1beta/models/x:streamGenerateContent?alt=sse")
    assert b"ping" not in data
    assert data.startswith(b"data: ")


async def test_a_silence_that_the_client_causes_is_not_the_providers(
    serve: Serve, upstream: Upstreams
) -> None:
    big = chunk("x" * 16_000)
    server = await upstream(
        [Do.REQUEST, head(), Flood(piece(big), 400), piece(chunk(finish="stop") + DONE), END]
    )
    rig = await serve(catalog(server, timeouts={"connect": 1, "first_byte": 1, "idle": 0.3}))
    reader, writer = await raw(rig, chat(True))
    await asyncio.sleep(1.0)
    data = bytearray()
    while not data.endswith(b"0\r\n\r\n"):
        data += await reader.read(1 << 20)
    assert b"[DONE]" in data
    assert data.count(b'"content":"xxx') == 400
    writer.close()
    assert (await rig.row())["outcome"] == "ok"


def resident() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError


async def test_a_slow_client_slows_its_provider_and_grows_no_memory(
    serve: Serve, upstream: Upstreams
) -> None:
    big = piece(chunk("x" * 16_000))
    server = await upstream([Do.REQUEST, head(), Flood(big, 200_000_000 // len(big)), Do.STALL])
    rig = await serve(catalog(server))
    reader, writer = await raw(rig, chat(True))
    taken = len(await reader.readexactly(500_000))
    before = resident()
    for _ in range(15):
        await asyncio.sleep(0.1)
        taken += len(await reader.readexactly(100_000))
        assert server.peers[0].taken - taken < 8_000_000
    assert resident() - before < 20_000_000
    writer.close()
    await server.peers[0].closed()


async def test_http_1_0_gets_a_body_that_ends_with_its_connection(serve: Serve, upstream: Upstreams) -> None:
    rig = await serve(catalog(await upstream(streams(*HELLO))))
    reader, writer = await raw(rig, chat(True), version="1.0")
    data = await asyncio.wait_for(reader.read(), 2)
    top, _, body = data.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in top.lower()
    assert b"connection: close" in top.lower()
    assert body == b"".join(HELLO[:4]).replace(b'"up"', b'"x"') + DONE
    writer.close()


async def test_an_early_error_has_its_status_also_behind_held_events(
    serve: Serve, upstream: Upstreams
) -> None:
    rig = await serve(
        catalog(await upstream(streams(chunk(), event({"error": {"message": "no", "code": 503}}))))
    )
    answer, data = await rig.ask(chat(True))
    assert answer.status == 503
    assert answer.content_type == "application/json"
    assert "error" in orjson.loads(data)


async def test_a_stream_that_holds_back_too_much_before_content_starts_as_it_is(
    serve: Serve, upstream: Upstreams
) -> None:
    filler = [event({"id": "c", "choices": [], "note": "x" * 8000, "model": "up"}) for _ in range(10)]
    rig = await serve(catalog(await upstream(streams(*filler, *HELLO))))
    _, data = await rig.ask(chat(True))
    assert data.count(b'"note"') == 10
    assert texts(data) == "Hello"


async def test_a_refusal_of_the_second_candidate_does_not_hide_in_a_started_stream(
    serve: Serve, upstream: Upstreams
) -> None:
    silent = await upstream([Do.REQUEST, Do.STALL])
    rejecting = await upstream(refuses(400, type="invalid_request_error"))
    timeouts = {"connect": 1, "first_byte": 0.25, "idle": 1}
    rig = await serve(catalog(silent, rejecting, timeouts=timeouts), PING_SECONDS="0.1")
    answer, data = await rig.ask(chat(True))
    assert answer.status == 200
    assert orjson.loads(events(data)[-1])["error"]["message"] == "no"
    assert b"[DONE]" not in data


async def test_usage_of_a_stream_is_asked_for_and_kept_from_who_did_not(
    serve: Serve, upstream: Upstreams
) -> None:
    server = await upstream(streams(*HELLO))
    rig = await serve(catalog(server))
    _, data = await rig.ask(chat(True))
    assert b'"include_usage":true' in server.received
    assert USAGE.replace(b'"up"', b'"x"') not in data
    await until(lambda: not rig.server.gateway.open_streams)
