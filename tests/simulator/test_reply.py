from __future__ import annotations

import json
from typing import Any

import pytest

from apipod_proxy.simulator.ask import Ask, Tool
from apipod_proxy.simulator.reply import compose
from apipod_proxy.simulator.script import read_script

WEATHER = Tool(
    "get_weather", {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
)
NEWS = Tool(
    "get_news", {"type": "object", "properties": {"topic": {"type": "string"}}, "required": ["topic"]}
)
BASH = Tool(
    "Bash",
    {
        "type": "object",
        "properties": {"command": {"type": "string"}, "description": {"type": "string"}},
        "required": ["command"],
    },
)
EXEC = Tool(
    "shell",
    {
        "type": "object",
        "properties": {"command": {"type": "array", "items": {"type": "string"}}},
        "required": ["command"],
    },
)
PATCH = Tool("apply_patch", None, custom=True)


def _ask(user: str = "", *, tools: list[Tool] | None = None, **fields: Any) -> Ask:
    return Ask("m", user=user, tools=tools or [], **fields)


def _calls(ask: Ask, knobs: str = "") -> list[tuple[str, Any]]:
    return [(call.name, call.text or call.arguments) for call in compose(ask, read_script("m", knobs)).calls]


def test_the_answer_says_what_was_seen() -> None:
    ask = _ask(
        "hello\nyou",
        system=["Be terse."],
        images=["image/png, 68 bytes", "https://x/"],
        documents=["application/pdf, 9 bytes"],
        audio=1,
    )
    assert compose(ask, read_script("m")).text.splitlines() == [
        "Hello from the simulator.",
        "You said: hello you",
        "System: Be terse.",
        "Images: 2 (image/png, 68 bytes; https://x/)",
        "Documents: 1 (application/pdf, 9 bytes)",
        "Audio: 1",
    ]


def test_the_pieces_add_up_to_the_text() -> None:
    reply = compose(_ask("a " * 150), read_script("m", "text=%20lead%20and%0Aline%20" + "x" * 60))
    assert reply.text == " lead and\nline ".rstrip() + " " + "x" * 60
    assert len(reply.pieces) > 4


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("what is the weather?", []),
        ("use get_weather", [("get_weather", {"city": "Paris"})]),
        ("Please use the `get_weather` tool.", [("get_weather", {"city": "Paris"})]),
        ('use get_weather {"city": "Oslo"}', [("get_weather", {"city": "Oslo"})]),
        (
            'call get_news {"topic": "x"} and get_weather {"city": "Rom"}',
            [("get_news", {"topic": "x"}), ("get_weather", {"city": "Rom"})],
        ),
        (
            'use get_weather {"city": "A"}, get_weather {"city": "B"}',
            [("get_weather", {"city": "A"}), ("get_weather", {"city": "B"})],
        ),
        ("use get_weather {broken", [("get_weather", {"city": "Paris"})]),
        ("use my_get_weather", []),
        ("<system-reminder>use get_weather</system-reminder>hi", []),
        ("use your head. " + "word " * 40 + "get_weather is a tool", []),
        ("use apply_patch", [("apply_patch", "input for apply_patch")]),
    ],
)
def test_a_user_who_names_tools_gets_calls(user: str, expected: list[tuple[str, Any]]) -> None:
    assert _calls(_ask(user, tools=[WEATHER, NEWS, PATCH])) == expected


def test_run_echo_becomes_a_command() -> None:
    assert _calls(_ask("run echo", tools=[WEATHER, BASH])) == [
        ("Bash", {"command": "echo hello from the simulator"})
    ]
    assert _calls(_ask("run `echo hi there`", tools=[BASH])) == [("Bash", {"command": "echo hi there"})]
    assert _calls(_ask("run echo hi", tools=[EXEC])) == [("shell", {"command": ["bash", "-lc", "echo hi"]})]
    assert _calls(_ask("run echo", tools=[WEATHER])) == []


def test_the_choice_of_tools_is_obeyed() -> None:
    tools = [WEATHER, NEWS]
    assert _calls(_ask("hi", tools=tools, choice="any")) == [("get_weather", {"city": "Paris"})]
    assert _calls(_ask("hi", tools=tools, choice="get_news")) == [("get_news", {"topic": "topic"})]
    assert _calls(_ask("use get_news", tools=tools, choice="none")) == []
    assert len(_calls(_ask("use get_news and get_weather", tools=tools, parallel=False))) == 1


def test_knobs_name_tools() -> None:
    assert [
        name for name, _ in _calls(_ask("hi", tools=[WEATHER, NEWS]), "tool=get_news|get_weather|unknown")
    ] == ["get_news", "get_weather"]
    assert [name for name, _ in _calls(_ask("hi", tools=[WEATHER, NEWS]), "tool=any")] == ["get_weather"]


def test_after_the_results_comes_a_text_that_mentions_them() -> None:
    ask = _ask("use get_weather", tools=[WEATHER], results=[("get_weather", "18 degrees")], rounds=1)
    reply = compose(ask, read_script("m"))
    assert reply.stop == "end"
    assert "get_weather returned: 18 degrees" in reply.text
    assert compose(ask, read_script("m", "rounds=2")).stop == "tool"


def test_a_wanted_format_is_kept() -> None:
    ask = _ask(
        "x", schema={"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    )
    assert json.loads(compose(ask, read_script("m")).text) == {"name": "Ada"}


def test_limits_and_stops_end_the_text() -> None:
    reply = compose(_ask("x", max_tokens=2), read_script("m"))
    assert (len(reply.pieces), reply.stop, reply.usage.output) == (2, "length", 2)
    reply = compose(_ask("x", stops=["the"]), read_script("m"))
    assert (reply.text, reply.stop, reply.stopped_at) == ("Hello from", "stop_sequence", "the")


@pytest.mark.parametrize(
    ("finish", "text"), [("refusal", "I cannot help with that."), ("filter", ""), ("blocked", "")]
)
def test_an_end_can_be_wished_for(finish: str, text: str) -> None:
    reply = compose(_ask("use get_weather", tools=[WEATHER]), read_script("m", f"finish={finish}"))
    assert (reply.stop, reply.text, list(reply.calls)) == (finish, text, [])


def test_scripted_events_are_as_many_as_asked_whatever_the_limit() -> None:
    reply = compose(_ask("x", max_tokens=3), read_script("sim-50-0"))
    assert (len(reply.pieces), reply.usage.output, reply.stop) == (50, 50, "end")


def test_big_answers_have_about_their_size() -> None:
    assert len(compose(_ask("x"), read_script("m", "big=0.5")).text) == pytest.approx(500_000, rel=0.05)


def test_usage_falls_into_classes_that_do_not_overlap() -> None:
    usage = compose(
        _ask("x", characters=4000, turns=2, thinking=True, cache_write=100), read_script("m", "cached=300")
    ).usage
    assert (usage.prompt, usage.input, usage.cache_read, usage.cache_write) == (1010, 610, 300, 100)
    assert usage.reasoning == 12 < usage.output
