from __future__ import annotations

import json
from typing import Any

import pytest

from apipod_proxy.dialect import NO_QUIRKS, Quirks
from apipod_proxy.dialect.identity import TopLevel, for_upstream, invalid, read_request, rewrite
from apipod_proxy.errors import BadRequest

USER = {"role": "user", "content": 'say "model" and \\"model\\": "x"'}
CHAT: dict[str, Any] = {"messages": [USER], "model": "gpt", "stream": True}
MESSAGES: dict[str, Any] = {"model": "claude", "max_tokens": 5, "messages": [USER]}


def compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def chat(**members: Any) -> tuple[bytes, TopLevel]:
    body = compact(CHAT | members)
    return body, read_request("openai_chat", body)


def test_the_top_level_of_each_dialect_is_read() -> None:
    _, top = chat(stream_options={"include_usage": True}, max_tokens=7, n=2)
    assert (top.model, top.stream, top.include_usage, top.max_tokens, top.choices) == (
        "gpt",
        True,
        True,
        7,
        2,
    )
    top = read_request(
        "openai_chat", compact(CHAT | {"max_tokens": 7, "max_completion_tokens": 9, "stream": None})
    )
    assert (top.stream, top.include_usage, top.max_tokens, top.choices) == (False, False, 9, 1)
    top = read_request("anthropic", compact(MESSAGES))
    assert (top.model, top.stream, top.max_tokens) == ("claude", False, 5)
    top = read_request(
        "openai_responses", compact({"model": "gpt", "input": "hi", "max_output_tokens": 3, "stream": True})
    )
    assert (top.model, top.stream, top.max_tokens) == ("gpt", True, 3)
    body = compact(
        {"contents": [{"parts": []}], "generationConfig": {"maxOutputTokens": 4, "candidateCount": 2}}
    )
    top = read_request("gemini", body, model="flash", stream=True)
    assert (top.model, top.stream, top.max_tokens, top.choices) == ("flash", True, 4, 2)
    body = compact({"contents": [{}], "generation_config": {"max_output_tokens": 4}})
    assert read_request("gemini", body, model="flash").max_tokens == 4


def test_a_count_of_tokens_needs_no_limit() -> None:
    body = compact({"model": "claude", "messages": [USER]})
    assert read_request("anthropic", body, counting=True).max_tokens is None


def test_a_limit_below_one_is_no_limit() -> None:
    assert chat(max_tokens=-1)[1].max_tokens is None


@pytest.mark.parametrize(
    ("dialect", "body", "path"),
    [
        ("openai_chat", b'{"messages":[{}]}', "$.model"),
        ("openai_chat", b'{"model":"a"}', "$.messages"),
        ("openai_chat", b'{"model":"","messages":[{}]}', "$.model"),
        ("openai_chat", b'{"model":5,"messages":[{}]}', "$.model"),
        ("openai_chat", b'{"model":"a","messages":[]}', "$.messages"),
        ("openai_chat", b'{"model":"a","messages":[{},3]}', "$.messages[1]"),
        ("openai_chat", b'{"model":"a","messages":{}}', "$.messages"),
        ("openai_chat", b'{"model":"a","messages":[{}],"stream":1}', "$.stream"),
        (
            "openai_chat",
            b'{"model":"a","messages":[{}],"stream_options":{"include_usage":"x"}}',
            "$.stream_options.include_usage",
        ),
        ("openai_chat", b"[]", "$"),
        ("openai_chat", b"nope", None),
        ("openai_chat", b"", None),
        ("openai_chat", b'{"model":"a","messages":[{}]} x', None),
        ("openai_chat", b'{"model":"a","messages":[{"a":"\xff"}]}', None),
        ("openai_chat", b'{"model":"a","messages":[{"a":' + b"[" * 100_000, None),
        ("anthropic", b'{"model":"a","messages":[{}]}', "$.max_tokens"),
        ("anthropic", b'{"model":"a","messages":[{}],"max_tokens":"x"}', "$.max_tokens"),
        ("openai_responses", b'{"model":"a","input":5}', "$.input"),
        ("gemini", b'{"contents":[1]}', "$.contents[0]"),
        (
            "gemini",
            b'{"contents":[{}],"generationConfig":{"maxOutputTokens":"x"}}',
            "$.generationConfig.maxOutputTokens",
        ),
        ("gemini", b'{"contents":[{}],"generationConfig":{},"generation_config":{}}', "$.generationConfig"),
    ],
)
def test_a_wrong_request_is_refused_with_the_path(dialect: str, body: bytes, path: str | None) -> None:
    with pytest.raises(BadRequest) as caught:
        read_request(dialect, body)
    assert caught.value.path == path


@pytest.mark.parametrize(
    "twice",
    [
        b'{"model":"a","messages":[{}],"model":"b"}',
        b'{"model":"a","messages":[{}],"mod\\u0065l":"b"}',
        b'{"\\u006dodel":"a","messages":[{}],"model":"a"}',
        b'{"model": "a", "model": "a", "messages": [{}]}',
        b'{"model":"a","messages":[{}],"stream":true,"x":1,"stream":false}',
        b'{"model":"a","messages":[{}],"messages":[{}]}',
    ],
)
def test_a_member_that_is_read_may_not_stand_twice(twice: bytes) -> None:
    with pytest.raises(BadRequest, match="twice"):
        read_request("openai_chat", twice)


def test_other_members_may_stand_twice_and_pass_unchanged() -> None:
    body = b'{"x":1, "model":"a","messages":[{"model":"a"}],"x":22}'
    top = read_request("openai_chat", body)
    assert for_upstream(body, top, "b", NO_QUIRKS).body == body.replace(b'"model":"a"', b'"model":"b"', 1)


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a","messages":[{"content":"\\"model\\":\\"a\\""}]}',
        b'{"messages":[{"model":"a"}],"model":"a"}',
        b'{"metadata":{"model":"a"},"messages":[{"content":"{\\"model\\":"}] , "model" : "a" }\n',
        b'{"messages":[{"x":"\xc3\xa9"}],"\xc3\xa9":1,"mod\\u0065l":"a"}',
    ],
)
def test_only_the_top_level_model_is_replaced(body: bytes) -> None:
    top = read_request("openai_chat", body)
    out = rewrite(body, top, {"model": 'new"name'})
    assert json.loads(out) == json.loads(body) | {"model": 'new"name'}
    assert len(out) == len(body) + len(b'"new\\"name"') - 3
    assert body.startswith(out[: out.index(b'"new')])


def test_usage_is_asked_for_in_streams() -> None:
    body, top = chat()
    asked = for_upstream(body, top, "up", NO_QUIRKS).body
    assert json.loads(asked) == CHAT | {"model": "up", "stream_options": {"include_usage": True}}
    body, top = chat(stream_options={"include_usage": False, "include_obfuscation": False})
    asked = for_upstream(body, top, "up", NO_QUIRKS).body
    assert json.loads(asked)["stream_options"] == {"include_usage": True, "include_obfuscation": False}
    body, top = chat(stream=False)
    assert "stream_options" not in json.loads(for_upstream(body, top, "up", NO_QUIRKS).body)
    body, top = chat(stream_options=None)
    assert json.loads(for_upstream(body, top, "up", NO_QUIRKS).body)["stream_options"] == {
        "include_usage": True
    }


@pytest.mark.parametrize(
    ("usage", "expected"),
    [({"include": True}, True), ({"include": False}, False), ({}, False), (True, False), (None, False)],
)
def test_clients_of_openrouter_wish_for_usage_in_their_own_way(usage: object, expected: bool) -> None:
    body, top = chat(usage=usage)
    assert top.include_usage is expected
    # It goes up as it is, and asked for in the way of all others as well.
    assert json.loads(for_upstream(body, top, "up", NO_QUIRKS).body) == CHAT | {
        "model": "up",
        "usage": usage,
        "stream_options": {"include_usage": True},
    }


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("size", [1, 40_000])
def test_the_model_is_replaced_wherever_it_stands(place: int, size: int) -> None:
    members = [("messages", [USER]), ("user", "é" * size)]
    members.insert(place, ("model", "gpt"))
    body = json.dumps(dict(members), separators=(",", ":"), ensure_ascii=False).encode()
    forwarded = for_upstream(body, read_request("openai_chat", body), "up", NO_QUIRKS)
    assert forwarded == (body.replace(b'"model":"gpt"', b'"model":"up"'), ())


def test_quirks_name_what_else_is_changed() -> None:
    body, top = chat(
        seed=1,
        max_completion_tokens=9,
        stream_options={"include_usage": True},
        messages=[{"role": "developer", "content": '{"role":"developer"}'}],
    )
    quirks = Quirks(
        drop=frozenset({"seed", "user"}),
        max_tokens_field="max_tokens",
        developer_role=False,
        stream_usage=False,
    )
    forwarded = for_upstream(body, top, "up", quirks)
    assert forwarded.dropped == ("seed", "stream_options")
    assert json.loads(forwarded.body) == {
        "model": "up",
        "stream": True,
        "max_tokens": 9,
        "messages": [{"role": "system", "content": '{"role":"developer"}'}],
    }


def test_the_model_of_a_gemini_request_stands_in_its_url() -> None:
    body = compact({"contents": [{}], "safetySettings": []})
    top = read_request("gemini", body, model="flash")
    assert for_upstream(body, top, "up", NO_QUIRKS).body is body
    assert (
        for_upstream(body, top, "up", Quirks(drop=frozenset({"safetySettings"}))).body == b'{"contents":[{}]}'
    )


def test_a_conversation_is_known_by_its_beginning() -> None:
    marked = {
        "role": "user",
        "content": [{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}],
    }
    plain = {"role": "user", "content": [{"type": "text", "text": "hi"}]}
    system = {"role": "system", "content": "be nice"}
    first = chat(messages=[system, marked])[1].beginning()
    later = chat(messages=[system, plain, {"role": "assistant", "content": "yo"}, marked])[1].beginning()
    assert first == later != b""
    assert chat(messages=[system, USER])[1].beginning() != first
    responses = read_request("openai_responses", compact({"model": "a", "input": "hello"}))
    assert responses.beginning() == b'"hello"'
    assert read_request("openai_responses", compact({"model": "a"})).beginning() == b""


def test_hints_tell_what_a_request_holds() -> None:
    assert not any(chat()[1].hints())
    image = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x/y.png"}}]}
    full = chat(
        tools=[{"type": "function"}],
        response_format={"type": "json_schema"},
        reasoning_effort="low",
        messages=[
            image,
            {"role": "assistant", "content": "x"},
            {"role": "user", "content": [{"type": "input_audio"}, {"type": "file"}]},
        ],
    )[1]
    assert all(full.hints())
    assert not chat(tools=[])[1].hints().tools
    gemini = read_request(
        "gemini",
        compact({"contents": [{"role": "model", "parts": []}], "generationConfig": {"responseSchema": {}}}),
    )
    assert gemini.hints().assistant
    assert gemini.hints().structured


def test_a_sentence_without_a_path_is_about_the_whole() -> None:
    assert invalid("Expected `object`, got `int`").path == "$"
    assert invalid("Object missing required field `b` - at `$.a`").path == "$.a.b"


def test_hints_look_at_types_and_not_at_words() -> None:
    def hints(content: Any, **members: Any) -> Any:
        body = compact(MESSAGES | {"messages": [{"role": "user", "content": content}]} | members)
        return read_request("anthropic", body).hints()

    assert not any(hints('an "image" of an "assistant"', thinking={"type": "disabled"}))
    nested = [{"type": "tool_result", "content": [{"type": "image"}, {"type": "document"}]}]
    assert (hints(nested).images, hints(nested).documents) == (True, True)
    assert hints("x", thinking={"type": "adaptive"}).reasoning
    assert hints([{"type": "image"}, 5]).images
    assert not hints([5]).images
    output = {"type": "function_call_output", "output": [{"type": "input_image"}]}
    responses = read_request("openai_responses", compact({"model": "a", "input": [output]}))
    assert responses.hints().images
    assert not any(read_request("openai_responses", compact({"model": "a"})).hints())


def test_half_a_character_goes_up_as_it_came() -> None:
    for blank in (b"", b" "):
        body = b'{"model":%b"a","messages":[{"role":"user","content":"cut \\ud83d"}]}' % blank
        top = read_request("openai_chat", body)
        assert rewrite(body, top, {"model": "b"}) == body.replace(b'"a"', b'"b"')
    with pytest.raises(BadRequest):
        read_request("openai_chat", b'{"model":"a","messages":[{"content":"\\u00"}]}')


def test_whole_numbers_may_be_written_as_fractions() -> None:
    _, top = chat(max_tokens=100.0, n=2.0)
    assert (top.max_tokens, top.choices) == (100, 2)
    with pytest.raises(BadRequest) as caught:
        chat(max_tokens=1.5)
    assert caught.value.path == "$.max_tokens"
    with pytest.raises(BadRequest) as caught:
        chat(model="x" * 513)
    assert caught.value.path == "$.model"
