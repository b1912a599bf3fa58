"""Hypothesis strategies for answers, as every dialect can give them."""

from __future__ import annotations

import json

from hypothesis import strategies as st

from apipod_proxy.dialect.vocabulary import (
    End,
    Event,
    Finish,
    Start,
    StopReason,
    TextDelta,
    ThinkingDelta,
    ToolArgs,
    ToolOpen,
    Usage,
    UsageReport,
)

TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
ARGUMENTS = st.dictionaries(
    TEXT, st.integers(-9, 9) | TEXT | st.none() | st.lists(st.booleans(), max_size=2), max_size=3
)


@st.composite
def answers(draw: st.DrawFn) -> list[Event]:
    """Start, blocks of text, thinking and calls in fragments, usage, a reason, the end."""
    events: list[Event] = [Start("r1", "some-model", 1_700_000_000)]
    last = ""
    called = False
    for block in range(draw(st.integers(0, 5))):
        kind = draw(
            st.sampled_from([kind for kind in ("text", "thinking", "call") if kind == "call" or kind != last])
        )
        last = kind
        if kind == "call":
            called = True
            text = json.dumps(draw(ARGUMENTS), separators=(",", ":"), ensure_ascii=False)
            cut = draw(st.integers(0, len(text)))
            events.append(ToolOpen(f"call_{block}", draw(st.sampled_from(["f", "get_it"])), block))
            events += [ToolArgs(piece, block) for piece in (text[:cut], text[cut:]) if piece]
        else:
            pieces = draw(st.lists(TEXT, min_size=1, max_size=3))
            events += [(TextDelta if kind == "text" else ThinkingDelta)(piece, block) for piece in pieces]
    reason = (
        StopReason.TOOL_USE
        if called
        else draw(st.sampled_from([StopReason.STOP, StopReason.LENGTH, StopReason.CONTENT_FILTER]))
    )
    count = st.integers(0, 10_000)
    usage = Usage(draw(count), draw(count), None, draw(count), draw(count))
    return [*events, Finish(reason), UsageReport(usage), End()]


def told(events: list[Event]) -> dict[str, object]:
    """What an answer tells, however it is cut into pieces."""
    blocks: list[list[object]] = []
    arguments: dict[int, str] = {}
    usage = Usage()
    reason = None
    for event in events:
        if isinstance(event, (TextDelta, ThinkingDelta)) and event.text:
            if blocks and blocks[-1][0] is type(event):
                blocks[-1][1] = f"{blocks[-1][1]}{event.text}"
            else:
                blocks.append([type(event), event.text])
        elif isinstance(event, ToolOpen):
            blocks.append([ToolOpen, event.id, event.name, event.block])
            arguments[event.block] = ""
        elif isinstance(event, ToolArgs):
            arguments[event.block] += event.fragment
        elif isinstance(event, (UsageReport, Start)):
            usage = usage.merged(event.usage or Usage())
        elif isinstance(event, Finish):
            reason = event.reason
    said: list[object] = []
    for kind, *rest in blocks:
        if kind is ToolOpen:
            call_id, name, block = rest
            said.append((call_id, name, json.loads(arguments[int(str(block))] or "{}")))
        else:
            said.append((kind, *rest))
    counts = {
        name: getattr(usage, name) or 0
        for name in ("input", "cache_read", "cache_write", "output", "reasoning")
    }
    return {"said": said, "usage": counts, "reason": reason, "ended": isinstance(events[-1], End)}
