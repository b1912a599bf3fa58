from __future__ import annotations

from typing import Any

import pytest

from apipod_proxy.simulator.ask import Refusal
from apipod_proxy.simulator.requests.anthropic import KIND, cache_prefix, read
from apipod_proxy.simulator.signature import sign

USER = {"role": "user", "content": "hi"}
TOOL = {"name": "get_weather", "input_schema": {"type": "object"}}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "18"}
THOUGHT = {"type": "thinking", "thinking": "Hm.", "signature": sign(KIND, "Hm.")}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
BUDGET = {"type": "enabled", "budget_tokens": 1024}


def _body(*messages: Any, **fields: Any) -> dict[str, Any]:
    return {"model": "m", "max_tokens": 2000, "messages": list(messages) or [USER], **fields}


def _said(*blocks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def _asked(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def test_a_full_request_is_understood() -> None:
    pdf = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "AAAA"}}
    ask = read(
        _body(
            _asked({"type": "text", "text": "look", "cache_control": {"type": "ephemeral"}}, IMAGE, pdf),
            system=[{"type": "text", "text": "S"}, {"type": "text", "text": "T"}],
            stream=True,
            thinking={"type": "adaptive"},
            stop_sequences=["x"],
            tools=[TOOL, {"type": "web_search_20250305", "name": "web_search"}],
            tool_choice={"type": "auto", "disable_parallel_tool_use": True},
            output_config={"effort": "high", "format": {"type": "json_schema", "schema": {"type": "object"}}},
            metadata={"user_id": "u"},
        )
    )
    assert (ask.system, ask.user, ask.images, ask.documents) == (
        ["S", "T"],
        "look",
        ["image/png, 3 bytes"],
        ["application/pdf, 3 bytes"],
    )
    assert (ask.stream, ask.thinking, ask.stops, ask.parallel, ask.schema) == (
        True,
        True,
        ["x"],
        False,
        {"type": "object"},
    )
    assert [tool.name for tool in ask.tools] == ["get_weather"]
    assert ask.cache_write > 0


def test_results_belong_to_their_calls() -> None:
    mixed = RESULT | {"content": [{"type": "text", "text": "18"}, IMAGE], "is_error": True}
    ask = read(
        _body(
            USER,
            _said(THOUGHT, CALL),
            _asked(mixed, {"type": "text", "text": "and?"}),
            tools=[TOOL],
            thinking=BUDGET,
        )
    )
    assert (ask.results, ask.rounds, ask.images) == (
        [("get_weather", "error: 18")],
        1,
        ["image/png, 3 bytes"],
    )


def test_a_system_message_in_the_middle_needs_its_beta() -> None:
    body = _body(USER, {"role": "system", "content": "M"})
    assert read(body, betas="a-2025-01-01,mid-conversation-system-2026-04-07").system == ["M"]
    with pytest.raises(Refusal, match='Unexpected role "system"'):
        read(body)


def test_members_behind_a_beta_need_it() -> None:
    body = _body(context_management={"edits": []})
    assert read(body, betas="context-management-2025-06-27").model == "m"
    with pytest.raises(Refusal, match="context_management: Extra inputs are not permitted"):
        read(body)


def test_the_new_version_takes_no_sampling() -> None:
    body = _body(temperature=1)
    assert read(body).model == "m"
    with pytest.raises(Refusal, match="temperature: Extra inputs are not permitted"):
        read(body, version="2026-10-21")


def test_counting_wants_no_limit() -> None:
    assert read({"model": "m", "messages": [USER]}, counting=True).turns == 1
    with pytest.raises(Refusal, match="max_tokens: Extra inputs are not permitted"):
        read(_body(), counting=True)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"model": "m", "messages": [USER]}, "max_tokens: Field required"),
        ({"max_tokens": 1, "messages": [USER]}, "model: Field required"),
        ({"model": "m", "max_tokens": 1}, "messages: Field required"),
        (_body(stop=["x"]), "stop: Extra inputs are not permitted"),
        (_body(max_tokens=0), "max_tokens: Input should be greater than or equal to 1"),
        (_body(max_tokens="1"), "max_tokens: Input should be a valid integer"),
        (_body(temperature=1.5), "temperature: range: 0..1"),
        (_body(stop_sequences=[" "]), "non-whitespace"),
        (_body(thinking={"type": "enabled"}), "thinking.enabled.budget_tokens: Field required"),
        (_body(thinking={"type": "enabled", "budget_tokens": 10}), "greater than or equal to 1024"),
        (
            _body(thinking={"type": "enabled", "budget_tokens": 2000}),
            "must be greater than `thinking.budget_tokens`",
        ),
        (_body(thinking=BUDGET, temperature=0.5), "may only be set to 1 when thinking is enabled"),
        (
            _body(thinking=BUDGET, tools=[TOOL], tool_choice={"type": "any"}),
            "Thinking may not be enabled when tool_choice forces tool use",
        ),
        (_body(tools=[{"name": "x"}]), "tools.0.custom.input_schema: Field required"),
        (
            _body(tools=[TOOL | {"parameters": {}}]),
            "tools.0.custom.parameters: Extra inputs are not permitted",
        ),
        (_body(tools=[TOOL | {"name": "a.b"}]), "tools.0.custom.name: String should match pattern"),
        (_body(tools=[TOOL | {"input_schema": {}}]), "tools.0.custom.input_schema.type: Field required"),
        (_body(tools=[TOOL, TOOL]), "Tool names must be unique"),
        (_body(tool_choice={"type": "auto"}), "only be specified while providing tools"),
        (_body(tools=[TOOL], tool_choice={"type": "tool", "name": "x"}), "Tool 'x' not found"),
        (_body(tools=[TOOL], tool_choice="auto"), "does not match any of the expected tags"),
        (_body(system={"a": 1}), "system: Input should be"),
        (_body(system=[{"type": "image"}]), "system.0.type"),
        (_body() | {"messages": []}, "at least one message is required"),
        (_body({"role": "assistant", "content": "x"}), 'first message must use the "user" role'),
        (_body(USER, USER), 'found multiple "user" roles in a row'),
        (_body({"role": "tool", "content": "x"}), "messages.0.role: Input should be 'user' or 'assistant'"),
        (_body({"role": "user"}), "messages.0.content: Field required"),
        (_body(USER | {"name": "x"}), "messages.0.name: Extra inputs are not permitted"),
        (_body({"role": "user", "content": ""}), "must have non-empty content"),
        (_body(_asked({"type": "text", "text": ""})), "text content blocks must be non-empty"),
        (_body(_asked({"type": "text", "text": " "})), "must contain non-whitespace text"),
        (
            _body(USER, _said({"type": "text", "text": "x"}), _asked(RESULT)),
            "unexpected `tool_use_id` found in `tool_result` blocks: toolu_1",
        ),
        (
            _body(USER, _said(CALL), USER),
            "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: toolu_1",
        ),
        (_body(USER, _said(CALL)), "`tool_use` ids were found without"),
        (
            _body(USER, _said(CALL), _asked({"type": "text", "text": "x"}, RESULT)),
            "`tool_use` ids were found without",
        ),
        (_body(USER, _said(CALL), _asked(RESULT, RESULT)), "each tool_use must have a single result"),
        (_body(USER, _said(CALL, CALL)), "`tool_use` ids must be unique"),
        (
            _body(USER, _said(CALL | {"id": "call.1"})),
            "messages.1.content.0.tool_use.id: String should match pattern",
        ),
        (_body(USER, _said(CALL | {"input": "{}"})), "messages.1.content.0.tool_use: Field required"),
        (_body(_asked(CALL)), "`tool_use` blocks are not permitted in `user` messages"),
        (
            _body(USER, _said(THOUGHT | {"thinking": "Hm!"}), USER),
            "messages.1.content.0: Invalid `signature` in `thinking` block",
        ),
        (_body(USER, _said(THOUGHT | {"signature": "abc"}), USER), "Invalid `signature` in `thinking` block"),
        (
            _body(USER, _said({"type": "redacted_thinking", "data": "x"}), USER),
            "Invalid `data` in `redacted_thinking` block",
        ),
        (
            _body(USER, _said(CALL), _asked(RESULT), tools=[TOOL], thinking=BUDGET),
            "Expected `thinking` or `redacted_thinking`, but found `tool_use`",
        ),
        (_body(USER, {"role": "assistant", "content": "x "}), "cannot end with trailing whitespace"),
        (
            _body(_asked(IMAGE | {"source": {"type": "base64", "media_type": "image/tiff", "data": ""}})),
            "media_type: Input should be",
        ),
        (_body(_asked(IMAGE | {"source": {"type": "url", "url": "http://x"}})), "Only HTTPS URLs"),
        (
            _body(
                _asked(
                    {"type": "document", "source": {"type": "base64", "media_type": "text/html", "data": ""}}
                )
            ),
            "document.source",
        ),
        (
            _body(system=[{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}] * 5),
            "maximum of 4 blocks with cache_control",
        ),
    ],
)
def test_what_anthropic_refuses_is_refused(body: dict[str, Any], text: str) -> None:
    with pytest.raises(Refusal) as refused:
        read(body)
    assert text in refused.value.message


def test_what_claude_itself_says_is_taken_back() -> None:
    assert read(_body(USER, _said({"type": "text", "text": "\n\n"}, THOUGHT), USER)).turns == 3
    assert (
        read(_body(tools=[TOOL], tool_choice={"type": "any"}, thinking={"type": "adaptive"})).choice == "any"
    )


def test_own_thinking_comes_back_in_all_its_forms() -> None:
    redacted = {"type": "redacted_thinking", "data": sign(KIND, "Hm.")}
    omitted = THOUGHT | {"thinking": ""}
    assert (
        read(_body(USER, _said(THOUGHT, redacted, omitted, {"type": "text", "text": "x"}), USER)).turns == 3
    )


def test_the_cached_prefix_ends_at_its_last_mark() -> None:
    mark = {"cache_control": {"type": "ephemeral"}}
    system = [{"type": "text", "text": "long"} | mark]
    one, two = _body(USER, system=system), _body({"role": "user", "content": "other"}, system=system)
    assert cache_prefix(one) == cache_prefix(two) != b""
    assert cache_prefix(_body()) == b""
    assert read(one).cache_write == read(two).cache_write
    assert cache_prefix(_body(cache_control={"type": "ephemeral"})) != b""
