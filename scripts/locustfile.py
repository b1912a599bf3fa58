"""Load tests of a gateway of one's own: mixed dialects, streamed, with time to first token and gaps between events as metrics.

    pip install locust
    GATEWAY_KEY=$(cat data/demo.key) locust -f scripts/locustfile.py --host http://127.0.0.1:8081 --users 50 --spawn-rate 10

``GATEWAY_MODEL`` (default ``sim-20-50``: 20 events, 50 ms apart) is what is asked for. The tables and charts then hold, beside the requests
themselves, ``TTFT`` (request sent → first event with content) and ``GAP`` (between two events from there on).
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Iterable
from typing import Any

from locust import HttpUser, between, task

MODEL = os.environ.get("GATEWAY_MODEL", "sim-20-50")
KEY = os.environ.get("GATEWAY_KEY", "")
QUESTIONS = (
    "Say hello.",
    "What is a gateway?",
    "Count to twenty.",
    "Tell me a short story about a lighthouse.",
)


class Caller(HttpUser):
    """One caller who mostly streams, in the dialects that a team's clients speak."""

    wait_time = between(0.1, 1.0)

    def on_start(self) -> None:
        if not KEY:
            raise SystemExit("GATEWAY_KEY is not set: it holds the client key, as in data/demo.key")

    @task(5)
    def chat_stream(self) -> None:
        self.stream(
            "/v1/chat/completions", {"authorization": f"Bearer {KEY}"}, chat(stream=True), "chat stream"
        )

    @task(3)
    def messages_stream(self) -> None:
        headers = {"x-api-key": KEY, "anthropic-version": "2023-06-01"}
        self.stream("/v1/messages", headers, chat(stream=True, max_tokens=500), "messages stream")

    @task(1)
    def gemini_stream(self) -> None:
        body = {"contents": [{"role": "user", "parts": [{"text": random.choice(QUESTIONS)}]}]}
        path = f"/v1beta/models/{MODEL}:streamGenerateContent?alt=sse"
        self.stream(path, {"x-goog-api-key": KEY}, body, "gemini stream")

    @task(1)
    def responses_stream(self) -> None:
        body = {"model": MODEL, "input": random.choice(QUESTIONS), "stream": True}
        self.stream("/v1/responses", {"authorization": f"Bearer {KEY}"}, body, "responses stream")

    @task(2)
    def chat_unary(self) -> None:
        self.client.post(
            "/v1/chat/completions", headers={"authorization": f"Bearer {KEY}"}, json=chat(), name="chat"
        )

    def stream(self, path: str, headers: dict[str, str], body: dict[str, Any], name: str) -> None:
        """One streamed request; an error event within it counts as a failure."""
        started = time.perf_counter()
        with self.client.post(
            path, headers=headers, json=body, stream=True, name=name, catch_response=True
        ) as answer:
            if answer.status_code != 200:
                answer.failure(f"status {answer.status_code}: {answer.text[:200]}")
                return
            last = 0.0
            for line in self.events(answer.iter_lines()):
                now = time.perf_counter()
                if b'"error"' in line[:60] or b'"response.failed"' in line[:60]:
                    answer.failure(line[:200].decode(errors="replace"))
                    return
                if last or has_content(json.loads(line[5:])):
                    self.metric("GAP" if last else "TTFT", name, now - (last or started))
                    last = now
            answer.success() if last else answer.failure("a stream without content")

    @staticmethod
    def events(lines: Iterable[bytes]) -> Iterable[bytes]:
        return (line for line in lines if line.startswith(b"data:") and line != b"data: [DONE]")

    def metric(self, kind: str, name: str, seconds: float) -> None:
        self.environment.events.request.fire(
            request_type=kind,
            name=name,
            response_time=seconds * 1000,
            response_length=0,
            exception=None,
            context={},
        )


def has_content(event: dict[str, Any]) -> bool:
    """Whether an event of any of the dialects holds a piece of the answer, and not only its beginning."""
    if "type" in event:
        return str(event["type"]).endswith(("_delta", ".delta"))
    if "candidates" in event:
        return any(candidate.get("content", {}).get("parts") for candidate in event["candidates"])
    return any(
        value
        for choice in event.get("choices", ())
        for key, value in choice["delta"].items()
        if key != "role"
    )


def chat(**more: object) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": random.choice(QUESTIONS)}], **more}
