"""What is answered, in no dialect: thinking, text, tool calls and what they cost."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from apipod_proxy.simulator.ask import Ask, Tool
from apipod_proxy.simulator.sample import sample
from apipod_proxy.simulator.script import Script

_THOUGHTS = ("The request is", " clear enough.", " I will look at what was sent", " and say what I see.")
_FILLER = " token"
_BIG_PIECE = 16 * 1024
# Tools with which agents run commands, most telling name first.
_SHELLS = (
    "bash",
    "shell",
    "exec_command",
    "run_shell_command",
    "local_shell",
    "run_terminal_cmd",
    "execute_command",
    "terminal",
)
_COMMAND_FIELDS = ("command", "cmd", "script", "input")
_REMINDER = re.compile(r"<system-reminder>.*?</system-reminder>", re.DOTALL)
_ECHO = re.compile(r"\brun\s+`?(echo\b[^\n`.\"]*)", re.IGNORECASE)
_USE = re.compile(r"\b(?:use|call)\b", re.IGNORECASE)
_PIECE = re.compile(r"\s*\S{1,24}")
_QUOTED = 400


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call; `text` is what a custom tool takes, `arguments` what any other does."""

    name: str
    arguments: dict[str, Any]
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens in classes that do not overlap, but for `reasoning`, which is part of `output`."""

    input: int
    output: int
    reasoning: int = 0
    cache_read: int = 0
    cache_write: int = 0

    @property
    def prompt(self) -> int:
        """All that went in, cached or not."""
        return self.input + self.cache_read + self.cache_write


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer; `pieces` are the deltas of its text, `stop` is end, length, tool, stop_sequence, filter, refusal or blocked."""

    thoughts: Sequence[str]
    redacted: bool
    pieces: Sequence[str]
    calls: Sequence[Call]
    stop: str
    usage: Usage
    stopped_at: str | None = None
    choices: int = 1
    logprobs: bool = False

    @property
    def thinking(self) -> str:
        return "".join(self.thoughts)

    @property
    def text(self) -> str:
        return "".join(self.pieces)


def compose(ask: Ask, script: Script) -> Reply:
    """The answer to a request under its script."""
    calls = [] if script.finish or ask.rounds >= script.rounds else _calls(ask, script)
    stop = script.finish or ("tool" if calls else "end")
    stopped_at = None
    pieces: Sequence[str]
    if calls:
        pieces = ("I will", " use a tool.") if script.thinking or ask.thinking or len(calls) > 1 else ()
    elif stop in {"blocked", "filter"}:
        pieces = ()
    elif script.events is not None:
        pieces = (_FILLER,) * script.events
    elif script.big:
        pieces = ("x" * _BIG_PIECE,) * max(1, round(script.big * 1_000_000 / _BIG_PIECE))
    else:
        text, stopped_at = _until_stop(_text(ask, script), ask.stops)
        pieces = _PIECE.findall(text) if text.strip() else ()
        if ask.max_tokens is not None and len(pieces) > ask.max_tokens:
            pieces, stop = pieces[: ask.max_tokens], "length"
        elif stopped_at is not None:
            stop = "stop_sequence"
    thoughts = _THOUGHTS if script.thinking or script.redacted or ask.thinking else ()
    said = len(pieces) + sum(8 + len(json.dumps(call.arguments)) // 4 for call in calls)
    return Reply(
        thoughts=thoughts,
        redacted=script.redacted,
        pieces=pieces,
        calls=calls,
        stop=stop,
        usage=_usage(ask, script, said * ask.choices, 12 if thoughts else 0),
        stopped_at=stopped_at,
        choices=ask.choices,
        logprobs=ask.logprobs,
    )


def _usage(ask: Ask, script: Script, said: int, reasoning: int) -> Usage:
    total = 4 + 3 * ask.turns + ask.characters // 4 + 85 * len(ask.images) + 250 * len(ask.documents)
    read = min(total, script.cached or ask.cache_read)
    write = min(total - read, ask.cache_write)
    return Usage(total - read - write, said + reasoning, reasoning, read, write)


def _until_stop(text: str, stops: Sequence[str]) -> tuple[str, str | None]:
    found = [(text.find(stop), stop) for stop in stops if stop and stop in text]
    if not found:
        return text, None
    place, stop = min(found)
    return text[:place], stop


def _quote(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _QUOTED else flat[:_QUOTED] + "…"


def _text(ask: Ask, script: Script) -> str:
    if script.text:
        return script.text
    if script.finish == "refusal":
        return "I cannot help with that."
    if ask.schema is not None:
        return json.dumps(sample(ask.schema))
    lines = ["Hello from the simulator."]
    if ask.results:
        lines += [f"{name} returned: {_quote(result)}" for name, result in ask.results]
    elif ask.user:
        lines.append(f"You said: {_quote(ask.user)}")
    if ask.system:
        lines.append(f"System: {_quote(' | '.join(ask.system))}")
    for what, seen in (("Images", ask.images), ("Documents", ask.documents)):
        if seen:
            lines.append(f"{what}: {len(seen)} ({'; '.join(_quote(one) for one in seen)})")
    if ask.audio:
        lines.append(f"Audio: {ask.audio}")
    return "\n".join(lines)


def _calls(ask: Ask, script: Script) -> list[Call]:
    if not ask.tools or ask.choice == "none":
        return []
    by_name = {tool.name: tool for tool in ask.tools}
    if script.tool:
        names = [ask.tools[0].name if name == "any" else name for name in script.tool.split("|")]
        calls = [_call(by_name[name]) for name in names if name in by_name]
    elif ask.choice in by_name:
        calls = _asked([by_name[ask.choice]], ask.user) or [_call(by_name[ask.choice])]
    else:
        calls = _asked(ask.tools, ask.user) or _echo(ask)
        if not calls and ask.choice == "any" and not ask.results:
            calls = [_call(ask.tools[0])]
    return calls if ask.parallel else calls[:1]


def _call(tool: Tool, given: dict[str, Any] | None = None) -> Call:
    if tool.custom:
        return Call(tool.name, {}, text=str((given or {}).get("input", f"input for {tool.name}")))
    arguments = sample(tool.schema, given)
    return Call(tool.name, arguments if isinstance(arguments, dict) else {})


def _asked(tools: Sequence[Tool], user: str) -> list[Call]:
    """Tools that the text names after "use" or "call"; a JSON object right behind the name gives the arguments."""
    text = _REMINDER.sub("", user)
    start = _USE.search(text)
    if not start:
        return []
    found = []
    decoder = json.JSONDecoder()
    for tool in tools:
        for match in re.finditer(rf"(?<![\w-]){re.escape(tool.name)}(?![\w-])", text[start.end() :]):
            # Within a sentence or two: prose that says "use" somewhere and a tool's name elsewhere asks for nothing.
            before = text[start.end() : start.end() + match.start()]
            if len(before) > 120 and not re.search(r"\b(use|call|and)\s+[`'\"]?$", before, re.IGNORECASE):
                continue
            given: dict[str, Any] = {}
            if brace := re.match(r"[`'\"]?\s*(?:with\s+)?(?=\{)", text[start.end() + match.end() :]):
                try:
                    value, _ = decoder.raw_decode(text[start.end() + match.end() + brace.end() :])
                except ValueError:
                    value = None
                given = value if isinstance(value, dict) else {}
            found.append(
                (match.start(), _call(tool, given) if not given or tool.custom else Call(tool.name, given))
            )
    return [call for _, call in sorted(found, key=lambda one: one[0])]


def _echo(ask: Ask) -> list[Call]:
    """What agents' command lines are asked in tests: run echo."""
    wanted = _ECHO.search(_REMINDER.sub("", ask.user))
    shells = sorted(
        (t for t in ask.tools if t.name.lower() in _SHELLS), key=lambda t: _SHELLS.index(t.name.lower())
    )
    if not wanted or not shells:
        return []
    command = wanted[1].strip()
    command = f"{command} hello from the simulator" if command.lower() == "echo" else command
    shell = shells[0]
    properties = shell.schema.get("properties") if isinstance(shell.schema, dict) else None
    for name in _COMMAND_FIELDS:
        if isinstance(properties, dict) and isinstance(properties.get(name), dict):
            kind = str(properties[name].get("type", "string")).lower()
            value: Any = ["bash", "-lc", command] if kind == "array" else command
            return [_call(shell, {name: value})]
    return [_call(shell, {"input": command})]
