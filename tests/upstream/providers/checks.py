"""What holds for every provider: clients of Chat and of Messages get its answers and its errors, each in their own words."""

from __future__ import annotations

from typing import Any, NamedTuple

import aiohttp
import orjson
import pytest

from apipod_proxy.upstream.providers import PROVIDER_TYPES
from tests.upstream.providers.fakes import ACCENT, CHAT, MESSAGES, RESPONSES, Fake
from tests.upstream.providers.rig import BAD, CLIENTS, GOOD, KEY, Rig
from tests.upstream.providers.table import FAKES


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """The data of a stream's events, but for ``[DONE]``."""
        lines = (line[6:] for line in self.body.splitlines() if line.startswith(b"data: "))
        return [orjson.loads(line) for line in lines if line != b"[DONE]"]

    @property
    def said(self) -> str:
        """The message of an error."""
        return str(self.json["error"]["message"])


async def ask(rig: Rig, client: str, model: str, **more: Any) -> Answer:
    messages = [{"role": "user", "content": "Hi"}]
    body: dict[str, Any] = {"model": model, "messages": messages, **more}
    if client == CHAT:
        messages.insert(0, {"role": "developer", "content": "Be brief."})
        body = {"max_completion_tokens": 50, "store": False, "presence_penalty": 0} | body
        if body.get("stream"):
            body["stream_options"] = {"include_usage": True}
    else:
        body = {"max_tokens": 50, "system": "Be brief."} | body
    return await post(rig, CLIENTS[client], body)


async def post(rig: Rig, path: str, body: dict[str, Any]) -> Answer:
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session,
        session.post(
            rig.url + path, data=orjson.dumps(body), headers={"authorization": f"Bearer {KEY}"}
        ) as answer,
    ):
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return Answer(answer.status, headers, await answer.read())


def text_and_usage(client: str, answer: Answer, streamed: bool) -> tuple[str, int, int]:
    if client == CHAT and streamed:
        deltas = [c["delta"].get("content") for e in answer.events for c in e["choices"]]
        text = "".join(piece if isinstance(piece, str) else "" for piece in deltas if piece is not None)
        counts = [event["usage"] for event in answer.events if event.get("usage")]
        assert answer.body.endswith(b"data: [DONE]\n\n")
        return text, counts[-1]["prompt_tokens"], counts[-1]["completion_tokens"]
    if client == CHAT:
        found = answer.json
        message = found["choices"][0]["message"]
        return message["content"], found["usage"]["prompt_tokens"], found["usage"]["completion_tokens"]
    if streamed:
        events = answer.events
        assert events[-1]["type"] == "message_stop"
        text = "".join(e["delta"].get("text", "") for e in events if e["type"] == "content_block_delta")
        counts = [e["message"]["usage"] for e in events if e["type"] == "message_start"]
        last = next(e for e in events if e["type"] == "message_delta")["usage"]
        return text, last.get("input_tokens") or counts[0]["input_tokens"], last["output_tokens"]
    found = answer.json
    text = "".join(block.get("text", "") for block in found["content"])
    return text, found["usage"]["input_tokens"], found["usage"]["output_tokens"]


class ProviderChecks:
    """Subclassed for each type; ``name`` is the type's."""

    name: str

    @property
    def fake(self) -> Fake:
        return FAKES[self.name]

    @pytest.mark.parametrize("base", [0, 1], ids=["without-version", "with-version"])
    @pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
    @pytest.mark.parametrize("client", CLIENTS)
    async def test_it_answers_with_usage(self, rig: Rig, client: str, streamed: bool, base: int) -> None:
        answer = await ask(rig, client, f"{self.name}-{base}/good", stream=streamed)
        assert answer.status == 200, answer.body
        assert text_and_usage(client, answer, streamed) == ("Hello", 7, 3)
        arrived = rig.fakes.arrived[-1]
        held = [name.lower() for name, value in arrived.headers.items() if GOOD in value]
        assert held == ([self.fake.auth[0]] if self.fake.auth else [])
        assert KEY not in str(arrived)
        self.check_dialect(client, arrived.path, answer.body)

    def check_dialect(self, client: str, path: str, body: bytes) -> None:
        """The client's own dialect is spoken where the provider knows it, and then its answer is left as it came."""
        spoken = PROVIDER_TYPES[self.name].speaks(client)
        assert spoken is not None
        assert (spoken == client) is (client in self.fake.voices)
        assert path.startswith(self.fake.voices[spoken].path.partition("{")[0])
        assert (f'"{ACCENT}"'.encode() in body) is (spoken == client)

    @pytest.mark.parametrize("client", CLIENTS)
    async def test_a_bad_key_is_the_gateways_own_trouble(self, rig: Rig, client: str) -> None:
        if self.fake.auth is None:
            assert not PROVIDER_TYPES[self.name].needs_key
            return
        answer = await ask(rig, client, f"{self.name}-bad-{client}/good")
        assert answer.status == 502, answer.body
        assert answer.said == f"The provider answered with status {self.fake.bad_key.status}."
        assert BAD.encode() not in answer.body
        following = await ask(rig, client, f"{self.name}-next-{client}/good")
        assert following.status == 200, following.body
        assert following.headers["x-apipod-attempts"] == "2"

    @pytest.mark.parametrize("client", CLIENTS)
    async def test_a_limit_says_how_long_to_wait(self, rig: Rig, client: str) -> None:
        answer = await ask(rig, client, f"{self.name}-limited-{client}/limited")
        assert answer.status == 429, answer.body
        assert answer.headers["retry-after"] == "7"
        assert answer.json["error"]["type"] in ("rate_limit_error", "rate_limit_exceeded", "requests")

    @pytest.mark.parametrize("client", [CHAT, MESSAGES])
    async def test_what_it_says_of_a_wrong_request_reaches_the_client(self, rig: Rig, client: str) -> None:
        answer = await ask(rig, client, f"{self.name}-0/refused")
        assert answer.status == 400, answer.body
        assert self.fake.refused.words in answer.said

    @pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
    async def test_a_client_of_responses_gets_them_as_they_came_where_it_speaks_them(
        self, rig: Rig, streamed: bool
    ) -> None:
        body = {"model": f"{self.name}-1/good", "input": "Hi", "stream": streamed}
        answer = await post(rig, "/v1/responses", body)
        assert answer.status == 200, answer.body
        found = answer.events[-1]["response"] if streamed else answer.json
        texts = [
            part["text"] for item in found["output"] if item["type"] == "message" for part in item["content"]
        ]
        assert texts == ["Hello"]
        assert (found["usage"]["input_tokens"], found["usage"]["output_tokens"]) == (7, 3)
        assert found["model"] == f"{self.name}-1/good"
        self.check_dialect(RESPONSES, rig.fakes.arrived[-1].path, answer.body)


class NewestModelsChecks(ProviderChecks):
    """For those who serve OpenAI's own models."""

    @pytest.mark.parametrize(
        ("model", "more", "spoken"),
        [
            ("gpt-5.2", {"thinking": {"type": "enabled", "budget_tokens": 8192}}, RESPONSES),
            ("gpt-5.2", {"thinking": {"type": "disabled"}}, CHAT),
            ("gpt-5.2", {}, CHAT),
            ("gpt-5.1", {"thinking": {"type": "enabled", "budget_tokens": 8192}}, CHAT),
        ],
    )
    async def test_a_client_of_messages_has_thinking_and_tools(
        self, rig: Rig, model: str, more: dict[str, Any], spoken: str
    ) -> None:
        tools = [{"name": "look", "input_schema": {"type": "object"}}]
        answer = await ask(rig, MESSAGES, f"{self.name}-0/{model}", stream=True, tools=tools, **more)
        assert answer.status == 200, answer.body
        assert text_and_usage(MESSAGES, answer, True) == ("Hello", 7, 3)
        arrived = rig.fakes.arrived[-1]
        assert arrived.path == self.fake.voices[spoken].path
        assert arrived.body["tools"]
        if spoken == RESPONSES:
            assert arrived.body["reasoning"] == {"effort": "medium", "summary": "auto"}
            assert "x-apipod-dropped" not in answer.headers

    async def test_without_tools_they_think_in_chat(self, rig: Rig) -> None:
        thinking = {"type": "enabled", "budget_tokens": 8192}
        answer = await ask(rig, MESSAGES, f"{self.name}-0/gpt-5.2", thinking=thinking)
        assert answer.status == 200, answer.body
        assert rig.fakes.arrived[-1].path == self.fake.voices[CHAT].path
        assert rig.fakes.arrived[-1].body["reasoning_effort"] == "medium"

    async def test_a_client_of_chat_is_passed_on(self, rig: Rig) -> None:
        tools = [{"type": "function", "function": {"name": "look"}}]
        answer = await ask(rig, CHAT, f"{self.name}-0/gpt-5.2", tools=tools, reasoning_effort="high")
        assert answer.status == 200, answer.body
        assert rig.fakes.arrived[-1].path == self.fake.voices[CHAT].path
