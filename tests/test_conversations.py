"""Conversations over ``previous_response_id`` with providers that keep none, through the SDK of OpenAI."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import openai
import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from apipod_proxy.conversations import Turn, joined, rows_of
from apipod_proxy.simulator import Simulator, start
from tests.gateway.conftest import KEY, Rig, Serve, serve
from tests.serve.conftest import simulator

__all__ = ["serve", "simulator"]

OTHER = "sk-other-user-0123456789"
TYPES = {
    "chat": "openai_compatible",
    "messages": "anthropic",
    "gemini": "google_ai_studio",
    "own": "openai",
    "forgetful": "vllm",
}


def catalog(simulator_url: str) -> dict[str, Any]:
    return {
        "providers": {
            name: {"type": kind, "base_url": simulator_url, "api_key": f"up-{name}"}
            for name, kind in TYPES.items()
        },
        "subscriptions": {
            "s": {"routes": {f"{name}/*": {"targets": [{"provider": name}]} for name in TYPES}}
        },
        "users": {
            "ann": {"subscription": "s", "keys": [{"key": KEY, "name": "a"}]},
            "bob": {"subscription": "s", "keys": [{"key": OTHER, "name": "b"}]},
        },
    }


Sdk = Callable[..., openai.AsyncOpenAI]


@pytest.fixture
async def sdk() -> AsyncIterator[Sdk]:
    async with AsyncExitStack() as stack:
        made: list[openai.AsyncOpenAI] = []

        def make(rig: Rig, key: str = KEY) -> openai.AsyncOpenAI:
            made.append(openai.AsyncOpenAI(base_url=f"{rig.url}/v1", api_key=key, max_retries=0))
            stack.push_async_callback(made[-1].close)
            return made[-1]

        yield make


async def respond(client: openai.AsyncOpenAI, stream: bool, **asked: Any) -> Any:
    """The whole response, either way."""
    if not stream:
        return await client.responses.create(**asked)
    async with await client.responses.create(stream=True, **asked) as events:
        last = [event async for event in events][-1]
    assert last.type == "response.completed"
    return last.response


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("name", ["chat", "messages", "gemini"])
async def test_three_turns_reach_the_provider_as_one_conversation(
    serve: Serve, simulator: Simulator, sdk: Sdk, name: str, stream: bool
) -> None:
    client = sdk(await serve(catalog(simulator.url)))
    model = f"{name}/m"
    said = []
    previous = openai.omit
    for text in ("first question", "second question", "third question"):
        answer = await respond(client, stream, model=model, input=text, previous_response_id=previous)
        said.append(answer.output_text)
        assert answer.model_extra["store"] is True
        assert answer.previous_response_id == (None if previous is openai.omit else previous)
        previous = answer.id
    last = simulator.requests[-1].body
    text = orjson.dumps(last).decode()
    for question in ("first question", "second question", "third question"):
        assert text.count(question) >= 1
    assert "previous_response_id" not in text
    turns = last["contents"] if name == "gemini" else last["messages"]
    assert len(turns) == 5
    assert all(said)


async def turn(client: openai.AsyncOpenAI, **asked: Any) -> Any:
    return await client.responses.create(**{"model": "chat/m", "input": "hi", **asked})


async def test_tool_results_go_on_from_a_call(serve: Serve, simulator: Simulator, sdk: Sdk) -> None:
    client = sdk(await serve(catalog(simulator.url)))
    tool = {
        "type": "function",
        "name": "look",
        "parameters": {"type": "object", "properties": {}},
        "strict": False,
    }
    first = await turn(client, model="messages/m+tools=1", tools=[tool], input="use look")
    call = next(item for item in first.output if item.type == "function_call")
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "42"}
    await turn(client, model="messages/m", tools=[tool], input=[result], previous_response_id=first.id)
    messages = simulator.requests[-1].body["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "user"]
    assert messages[2]["content"][0]["tool_use_id"] == call.call_id


def on_postgresql(url: str, schema: str) -> dict[str, str]:
    return {"DATABASE_URL": url, "DATABASE_SCHEMA": schema, "ENCRYPTION_KEY": "A" * 43}


@pytest.mark.parametrize("driver", ["sqlite", "postgresql"])
async def test_a_response_can_be_read_and_deleted_by_its_owner(
    driver: str, postgres_url: str, postgres_schema: str, serve: Serve, simulator: Simulator, sdk: Sdk
) -> None:
    environ = on_postgresql(postgres_url, postgres_schema) if driver == "postgresql" else {}
    rig = await serve(catalog(simulator.url), **environ)
    ann, bob = sdk(rig), sdk(rig, OTHER)
    made = await turn(ann)
    await rig.server.conversations.close()
    found = await ann.responses.retrieve(made.id)
    assert (found.id, found.output_text, found.status) == (made.id, made.output_text, "completed")
    with pytest.raises(openai.NotFoundError):
        await bob.responses.retrieve(made.id)
    with pytest.raises(openai.NotFoundError):
        await bob.responses.delete(made.id)
    with pytest.raises(openai.BadRequestError):
        await turn(bob, previous_response_id=made.id)
    following = await turn(ann, previous_response_id=made.id, input=[{"role": "user", "content": "more"}])
    for _ in range(2):
        # While it waits to be written, and afterwards.
        pages = ann.responses.input_items.list(following.id, order="asc", limit=1)
        listed = [item.model_dump() async for item in pages]
        assert [(item["role"], item["content"][0]["text"]) for item in listed] == [
            ("user", "hi"),
            ("assistant", made.output_text),
            ("user", "more"),
        ]
        await rig.server.conversations.close()
    with pytest.raises(openai.NotFoundError):
        await bob.responses.input_items.list(following.id)
    await ann.responses.delete(following.id)
    await ann.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        await ann.responses.retrieve(made.id)
    with pytest.raises(openai.NotFoundError):
        await ann.responses.delete(made.id)


async def test_what_nobody_keeps_is_refused_as_the_api_refuses_it(
    serve: Serve, simulator: Simulator, sdk: Sdk
) -> None:
    client = sdk(await serve(catalog(simulator.url)))
    for unknown in ("resp_req_unknown", "resp_of_a_provider"):
        with pytest.raises(openai.BadRequestError) as caught:
            await turn(client, previous_response_id=unknown)
        assert caught.value.code == "previous_response_not_found"
        assert caught.value.param == "previous_response_id"
    assert not simulator.requests


async def test_a_client_may_forbid_to_keep(serve: Serve, simulator: Simulator, sdk: Sdk) -> None:
    client = sdk(await serve(catalog(simulator.url)))
    made = await turn(client, store=False)
    assert made.model_extra["store"] is False
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(made.id)


async def test_nothing_is_kept_where_that_is_turned_off(serve: Serve, simulator: Simulator, sdk: Sdk) -> None:
    client = sdk(await serve(catalog(simulator.url), RESPONSES_TTL_HOURS="0"))
    made = await turn(client)
    assert made.model_extra["store"] is False
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(made.id)
    with pytest.raises(openai.BadRequestError):
        await turn(client, previous_response_id=made.id)


async def test_a_provider_of_the_same_dialect_keeps_its_own(
    serve: Serve, simulator: Simulator, sdk: Sdk
) -> None:
    client = sdk(await serve(catalog(simulator.url)))
    made = await turn(client, model="own/m")
    following = await turn(client, model="own/m", previous_response_id=made.id, input="more")
    assert following.status == "completed"
    asked = simulator.requests[-1].body
    assert (asked["previous_response_id"], asked["input"]) == (made.id, "more")
    # What the gateway kept, it can take there as well.
    kept = await turn(client, input="kept here")
    await turn(client, model="own/m", previous_response_id=kept.id)
    asked = simulator.requests[-1].body
    assert "previous_response_id" not in asked
    assert "kept here" in orjson.dumps(asked["input"]).decode()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_the_one_account_of_several_that_keeps_a_response_is_found(
    serve: Serve, simulator: Simulator, sdk: Sdk, stream: bool
) -> None:
    async with await start() as other:
        told = catalog(simulator.url)
        told["providers"]["own2"] = {"type": "openai", "base_url": other.url, "api_key": "up-own2"}
        told["models"] = {"own2-m": {"provider": "own2", "upstream_model": "m"}}
        told["models"]["own-m"] = {"provider": "own", "upstream_model": "m"}
        targets = [{"model": "own2-m", "priority": 0}, {"model": "own-m", "priority": 1}]
        told["subscriptions"]["s"]["routes"]["both"] = {"strategy": "priority", "targets": targets}
        client = sdk(await serve(told))
        made = await turn(client, model="own/m")
        following = await respond(client, stream, model="both", input="more", previous_response_id=made.id)
        assert following.status == "completed"
        with pytest.raises(openai.BadRequestError) as refused:
            await respond(client, stream, model="both", input="x", previous_response_id="resp_nope")
        assert refused.value.code == "previous_response_not_found"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_provider_that_speaks_responses_and_keeps_none_is_sent_the_conversation(
    serve: Serve, simulator: Simulator, sdk: Sdk, stream: bool
) -> None:
    client = sdk(await serve(catalog(simulator.url)))
    model = "forgetful/m"
    made = await respond(client, stream, model=model, input="first question")
    assert not made.id.startswith("resp_req_")
    await respond(client, stream, model=model, input="second question", previous_response_id=made.id)
    asked = simulator.requests[-1].body
    assert "previous_response_id" not in asked
    assert [item["role"] for item in asked["input"] if item["type"] == "message"] == [
        "user",
        "assistant",
        "user",
    ]
    assert (await client.responses.retrieve(made.id)).output_text == made.output_text
    with pytest.raises(openai.BadRequestError):
        await respond(client, stream, model=model, input="x", previous_response_id="resp_unknown")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_ids_that_two_responses_may_have_are_replaced(serve: Serve, sdk: Sdk, stream: bool) -> None:
    asked: list[Any] = []

    async def handle(request: web.Request) -> web.Response:
        asked.append(await request.json())
        text = {"type": "output_text", "text": f'"id": "resp_7" {len(asked)}', "annotations": []}
        item = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [text],
        }
        done = {"id": "resp_7", "object": "response", "created_at": 1, "status": "completed", "model": "m"}
        done |= {"output": [item], "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}}
        if not stream:
            return web.json_response(done)
        events: list[dict[str, Any]] = [
            {"type": "response.created", "response": {**done, "status": "in_progress", "output": []}},
            {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}},
            {"type": "response.output_item.done", "output_index": 0, "item": item},
            {"type": "response.completed", "response": done},
        ]
        frames = [b"data: %b\n\n" % orjson.dumps(event) for event in events]
        return web.Response(body=b"".join(frames), content_type="text/event-stream")

    app = web.Application()
    app.router.add_post("/v1/responses", handle)
    async with TestServer(app) as server:
        told = catalog(str(server.make_url("")).rstrip("/"))
        told["providers"]["forgetful"]["type"] = "ollama"
        client = sdk(await serve(told))
        made = await respond(client, stream, model="forgetful/m", input="first")
        other = await respond(client, stream, model="forgetful/m", input="second")
        assert made.id != other.id
        assert made.output_text == '"id": "resp_7" 1'
        await respond(client, stream, model="forgetful/m", input="more", previous_response_id=made.id)
        assert [item["content"] for item in asked[-1]["input"] if item["role"] == "user"] == ["first", "more"]
        assert (await client.responses.retrieve(other.id)).output_text == '"id": "resp_7" 2'


async def test_another_process_goes_on_at_once(
    postgres_url: str, postgres_schema: str, serve: Serve, simulator: Simulator, sdk: Sdk
) -> None:
    environ = on_postgresql(postgres_url, postgres_schema)
    one, other = [sdk(await serve(catalog(simulator.url), **environ)) for _ in range(2)]
    previous = (await turn(one, input="turn 0")).id
    for number, client in enumerate((other, one, other), 1):
        previous = (await turn(client, input=f"turn {number}", previous_response_id=previous)).id
    assert len(simulator.requests[-1].body["messages"]) == 7


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("name", ["chat", "messages", "gemini", "own"])
async def test_items_that_are_named_by_their_ids_reach_the_provider(
    serve: Serve, simulator: Simulator, sdk: Sdk, name: str, stream: bool
) -> None:
    client = sdk(await serve(catalog(simulator.url)))
    tool = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}}
    user = {"role": "user", "content": "use look"}
    asked = {"model": "messages/m", "tools": [tool], "reasoning": {"effort": "low"}}
    first = await respond(client, stream, **asked, input=[user])
    assert {item.type for item in first.output} >= {"message", "function_call"}
    call = next(item for item in first.output if item.type == "function_call")
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "forty-two"}
    named = [{"type": "item_reference", "id": item.id} for item in first.output]
    asked["model"] = f"{name}/m"
    second = await respond(client, stream, **asked, input=[user, *named, result])
    sent = orjson.dumps(simulator.requests[-1].body).decode()
    assert "item_reference" not in sent
    assert "I will use a tool." in sent
    assert "forty-two" in second.output_text
    # An answer to a request that named items may be gone on from as well.
    if name != "own":
        await respond(client, stream, model="chat/m", input="more", previous_response_id=second.id)
        roles = [message["role"] for message in simulator.requests[-1].body["messages"]]
        assert roles == ["user", "assistant", "tool", "assistant", "user"]


async def test_items_that_nobody_keeps_are_refused_as_the_api_refuses_them(
    serve: Serve, simulator: Simulator, sdk: Sdk
) -> None:
    rig = await serve(catalog(simulator.url))
    ann, bob = sdk(rig), sdk(rig, OTHER)
    made = await turn(ann)
    unkept = await turn(ann, store=False)
    sent = len(simulator.requests)
    for client, item_id in (
        (bob, made.output[0].id),
        (ann, unkept.output[0].id),
        (ann, made.output[0].id.replace("_0", "_7")),
        (ann, "msg_of_a_provider"),
    ):
        with pytest.raises(openai.NotFoundError) as caught:
            await turn(client, input=[{"type": "item_reference", "id": item_id}])
        assert caught.value.param == "input"
    assert len(simulator.requests) == sent
    # A provider that keeps its own answers it.
    own = await turn(ann, model="own/m", input=[{"type": "item_reference", "id": "msg_of_a_provider"}])
    assert own.status == "completed"
    assert simulator.requests[-1].body["input"] == [{"type": "item_reference", "id": "msg_of_a_provider"}]


def test_a_request_that_cannot_be_read_does_not_keep_others_from_being_written() -> None:
    good = Turn("resp_1", "ann", None, 1, 2, b'{"input":"hi"}', {"output": []})
    assert [row.id for row in rows_of([good._replace(id="resp_0", body=b"[]"), good])] == ["resp_1"]


@pytest.mark.parametrize(
    ("turns", "expected"),
    [([], b"[]"), ([b"[]", b"[1, 2]", b"[3]"], b"[1, 2,3]"), ([b"[ ]", b"[1]"], b"[1]")],
)
def test_arrays_are_joined(turns: list[bytes], expected: bytes) -> None:
    assert joined(turns) == expected
