"""What translation costs: CPU µs of one streamed event (decode + encode), and of a 200 KB request, for each pair of dialects.

.venv/bin/python scripts/bench/translate.py
"""

from __future__ import annotations

import asyncio
from itertools import count
from statistics import median
from time import process_time
from typing import Any

import aiohttp
import orjson

from apipod_proxy.dialect import Aim, AnswerInfo
from apipod_proxy.dialect.table import DIALECTS
from apipod_proxy.simulator import start

EVENT_BAR, REQUEST_BAR = 25.0, 3000.0
EVENTS = 400
ROUNDS = 7

PATHS = {
    "openai_chat": "/v1/chat/completions",
    "anthropic": "/v1/messages",
    "gemini": f"/v1beta/models/sim-{EVENTS}-0:streamGenerateContent?alt=sse",
    "openai_responses": "/v1/responses",
}


def question(dialect: str) -> dict[str, Any]:
    model = f"sim-{EVENTS}-0"
    if dialect == "gemini":
        return {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}
    if dialect == "openai_responses":
        return {"model": model, "stream": True, "input": "hello"}
    return {
        "model": model,
        "stream": True,
        "max_tokens": 9000,
        "messages": [{"role": "user", "content": "hello"}],
    }


def long_request(dialect: str) -> bytes:
    """A conversation of 200 KB with tools, as an agent sends it: many short messages and schemas, not one long string."""
    text = "The quick brown fox jumps over the lazy dog, and then it goes on for a while. " * 6
    schema = {
        "type": "object",
        "properties": {f"field_{n}": {"type": "string", "description": text[:80]} for n in range(12)},
    }
    turns = 170
    if dialect == "gemini":
        contents = [
            {"role": ("user", "model")[n % 2], "parts": [{"text": text}, {"text": text}]}
            for n in range(turns + 1)
        ]
        tools = [
            {
                "functionDeclarations": [
                    {"name": f"tool_{n}", "description": text, "parameters": schema} for n in range(12)
                ]
            }
        ]
        return orjson.dumps({"contents": contents, "tools": tools})
    parts = {"openai_chat": "text", "anthropic": "text", "openai_responses": "input_text"}[dialect]
    answers = {"openai_responses": "output_text"}.get(dialect, "text")
    messages = [
        {
            "role": ("user", "assistant")[n % 2],
            "content": [
                {"type": (parts, answers)[n % 2], "text": text},
                {"type": (parts, answers)[n % 2], "text": text},
            ],
        }
        for n in range(turns + 1)
    ]
    body: dict[str, Any] = {"model": "some-model"}
    if dialect == "openai_responses":
        body["input"] = messages
        body["tools"] = [
            {"type": "function", "name": f"tool_{n}", "description": text, "parameters": schema}
            for n in range(12)
        ]
    else:
        body["messages"] = messages
        body["max_tokens"] = 1000
        if dialect == "anthropic":
            body["tools"] = [
                {"name": f"tool_{n}", "description": text, "input_schema": schema} for n in range(12)
            ]
        else:
            functions = [{"name": f"tool_{n}", "description": text, "parameters": schema} for n in range(12)]
            body["tools"] = [{"type": "function", "function": function} for function in functions]
    return orjson.dumps(body)


async def streams() -> dict[str, list[bytes]]:
    """A stream of each dialect, in its events."""
    found = {}
    async with await start() as simulator, aiohttp.ClientSession() as session:
        for dialect, path in PATHS.items():
            headers = {
                "authorization": "Bearer k",
                "x-api-key": "k",
                "x-goog-api-key": "k",
                "anthropic-version": "2023-06-01",
            }
            async with session.post(simulator.url + path, json=question(dialect), headers=headers) as answer:
                body = await answer.read()
                assert answer.status == 200, body
                mark = b"\r\n\r\n" if b"\r\n\r\n" in body else b"\n\n"
                found[dialect] = [event + mark for event in body.split(mark) if event]
    return found


def per_event(source: str, target: str, events: list[bytes]) -> float:
    times = []
    for _ in range(ROUNDS):
        numbers = count()
        decoder = DIALECTS[source].decoder(lambda prefix, numbers=numbers: f"{prefix}{next(numbers)}")
        encoder = DIALECTS[target].encoder(AnswerInfo("some-model", "req_x", 1_760_000_000, True))
        begun = process_time()
        for data in events:
            for event in decoder.feed(data):
                encoder.send(event)
        for event in decoder.eof():
            encoder.send(event)
        times.append((process_time() - begun) / len(events) * 1e6)
    return median(times)


def per_request(source: str, target: str, body: bytes) -> float:
    times = []
    for _ in range(ROUNDS):
        begun = process_time()
        call = DIALECTS[source].decode_request(body, model="some-model", stream=True)
        DIALECTS[target].encode_request(call, Aim("some-model"))
        times.append((process_time() - begun) * 1e6)
    return median(times)


def main() -> None:
    recorded = asyncio.run(streams())
    print(f"{'from':<18}{'to':<18}{'µs an event':>12}{'bar':>6}{'µs a request':>14}{'bar':>8}{'KB':>6}")
    missed = 0
    for client in PATHS:
        body = long_request(client)
        for upstream in PATHS:
            if client == upstream:
                continue
            event = per_event(upstream, client, recorded[upstream])
            request = per_request(client, upstream, body)
            missed += (event > EVENT_BAR) + (request > REQUEST_BAR)
            size = len(body) // 1000
            print(
                f"{client:<18}{upstream:<18}{event:>12.1f}{EVENT_BAR:>6.0f}{request:>14.0f}{REQUEST_BAR:>8.0f}{size:>6}"
            )
    raise SystemExit(f"{missed} figures are over their bar" if missed else 0)


if __name__ == "__main__":
    main()
