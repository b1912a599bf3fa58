from __future__ import annotations

import asyncio
import json
import time
from itertools import pairwise
from typing import Any

import aiohttp
import pytest

from apipod_proxy.simulator import Simulator

MESSAGES = [{"role": "user", "content": "hi"}]


async def _read(
    http: aiohttp.ClientSession, model: str, *, stream: bool = True
) -> tuple[bytes, Exception | None]:
    """What came before the end, and how it ended."""
    body = b""
    try:
        async with http.post(
            "/v1/chat/completions", json={"model": model, "messages": MESSAGES, "stream": stream}
        ) as answer:
            async for chunk in answer.content.iter_any():
                body += chunk
    except aiohttp.ClientError as exc:
        return body, exc
    return body, None


def _contents(body: bytes) -> int:
    return body.count(b'"content":" token"')


@pytest.mark.parametrize("count", [0, 2, 5])
async def test_a_stream_is_cut_after_so_many_events(http: aiohttp.ClientSession, count: int) -> None:
    body, error = await _read(http, f"sim-5-0+cut={count}")
    assert (_contents(body), type(error)) == (count, aiohttp.ClientPayloadError)
    assert b"[DONE]" not in body


async def test_a_stream_is_reset(http: aiohttp.ClientSession) -> None:
    body, error = await _read(http, "sim-5-10+reset=2")
    assert isinstance(error, aiohttp.ClientError)
    assert _contents(body) == 2


@pytest.mark.parametrize("count", [0, 2])
async def test_a_stream_is_cut_within_an_event(http: aiohttp.ClientSession, count: int) -> None:
    body, error = await _read(http, f"sim-5-0+half={count}")
    assert (_contents(body), type(error)) == (count, aiohttp.ClientPayloadError)
    assert not body.endswith(b"\n\n")


async def test_a_stream_ends_cleanly_before_it_is_whole(http: aiohttp.ClientSession) -> None:
    body, error = await _read(http, "sim-5-0+end=2")
    assert (_contents(body), error) == (2, None)
    assert b'finish_reason":"stop' not in body


@pytest.mark.parametrize("stream", [True, False])
async def test_the_framing_of_http_breaks(simulator: Simulator, stream: bool) -> None:
    # Read without a client library: aiohttp's own waits for ever on such an answer.
    reader, writer = await asyncio.open_connection("127.0.0.1", int(simulator.url.rpartition(":")[2]))
    body = json.dumps({"model": "sim-5-0+bad_chunk=2", "messages": MESSAGES, "stream": stream}).encode()
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
    )
    answer = await reader.read(-1)
    writer.close()
    assert answer.endswith(b"\r\nzz\r\nthis is no chunk\r\n")
    assert _contents(answer) == (2 if stream else 0)


@pytest.mark.parametrize("knob", ["cut", "reset"])
async def test_a_whole_answer_breaks_in_its_middle(http: aiohttp.ClientSession, knob: str) -> None:
    body, error = await _read(http, f"m+{knob}=1", stream=False)
    assert isinstance(error, aiohttp.ClientError)
    assert not body.endswith(b"}\n")


async def test_a_malformed_frame_comes_between_good_ones(http: aiohttp.ClientSession) -> None:
    body, error = await _read(http, "sim-3-0+malformed=1")
    records = body.split(b"\n\n")[:-1]
    broken = [
        index for index, record in enumerate(records) if record != b"data: [DONE]" and not _is_json(record)
    ]
    assert (error, broken, _contents(body)) == (None, [2], 3)


def _is_json(record: bytes) -> bool:
    try:
        json.loads(record.removeprefix(b"data: "))
    except ValueError:
        return False
    return True


async def test_a_stalled_stream_stays_open_until_the_client_leaves(
    simulator: Simulator, http: aiohttp.ClientSession
) -> None:
    async with http.post(
        "/v1/chat/completions", json={"model": "sim-5-0+stall=2", "messages": MESSAGES, "stream": True}
    ) as answer:
        body = b""
        while _contents(body) < 2:
            body += await answer.content.readany()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await answer.content.readany()
        assert simulator.stats.open_streams == 1
        answer.close()
    await _until(lambda: simulator.stats.open == 0)
    assert (simulator.stats.aborted, simulator.stats.open_streams) == (1, 0)


async def _until(reached: Any) -> None:
    async with asyncio.timeout(2):
        while not reached():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    ("model", "stream"),
    [("sim-50-50", True), ("m+delay=2000", False), ("sim-1-0+first=2000", True), ("m+stall=1", False)],
)
async def test_a_client_that_leaves_is_noticed_at_once(
    simulator: Simulator, http: aiohttp.ClientSession, model: str, stream: bool
) -> None:
    task = asyncio.ensure_future(_read(http, model, stream=stream))
    await _until(lambda: simulator.stats.open == 1)
    await asyncio.sleep(0.02)
    task.cancel()
    start = time.monotonic()
    await _until(lambda: simulator.stats.open == 0)
    assert time.monotonic() - start < 0.1
    assert simulator.stats.aborted == 1


async def test_events_come_at_their_pace_and_do_not_drift(http: aiohttp.ClientSession) -> None:
    arrivals = []
    async with http.post(
        "/v1/chat/completions", json={"model": "sim-6-30+first=30", "messages": MESSAGES, "stream": True}
    ) as answer:
        async for line in answer.content:
            if b'" token"' in line:
                arrivals.append(time.monotonic())
    gaps = [after - before for before, after in pairwise(arrivals)]
    assert arrivals[-1] - arrivals[0] == pytest.approx(0.15, abs=0.04)
    assert all(0.005 < gap < 0.08 for gap in gaps)


async def test_a_delay_comes_before_the_head(http: aiohttp.ClientSession) -> None:
    start = time.monotonic()
    async with http.post(
        "/v1/chat/completions", json={"model": "m+delay=60", "messages": MESSAGES}
    ) as answer:
        assert time.monotonic() - start >= 0.055
        assert answer.status == 200


async def test_a_connection_is_dropped_without_a_byte(http: aiohttp.ClientSession) -> None:
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await http.post("/v1/chat/completions", json={"model": "m+drop", "messages": MESSAGES})


async def test_the_bytes_are_the_same_however_they_are_cut(http: aiohttp.ClientSession) -> None:
    whole, _ = await _read(http, "sim-3-0")
    for knob in ("split=5", "join", "comments=2"):
        body, error = await _read(http, f"sim-3-0+{knob}")
        assert error is None
        assert body.count(b"\n\n") == whole.count(b"\n\n") + (2 if "comments" in knob else 0)
        assert body.endswith(b"data: [DONE]\n\n")


async def test_a_slow_client_slows_the_stream(simulator: Simulator, http: aiohttp.ClientSession) -> None:
    async with http.post(
        "/v1/chat/completions", json={"model": "m+big=40", "messages": MESSAGES, "stream": True}
    ) as answer:
        await answer.content.readany()
        await asyncio.sleep(0.2)
        # Buffers of the kernel and of both sides hold a few megabytes, never the whole answer.
        assert simulator.stats.open_streams == 1
        answer.close()
