"""How a request asks for thinking: ``thinking`` and ``output_config.effort`` ↔ the neutral form.

Newer models size their thinking themselves, steered by an effort; older ones want a budget of tokens, which is part of ``max_tokens``.
"""

from __future__ import annotations

from apipod_proxy.dialect import Aim, efforts
from apipod_proxy.dialect.anthropic.names import MIN_BUDGET, NAME, adapts, efforts_of
from apipod_proxy.dialect.dropped import Dropped
from apipod_proxy.dialect.fields import Object, a_text, opt_int, opt_text, required
from apipod_proxy.dialect.vocabulary import Call, Reasoning
from apipod_proxy.errors import BadRequest


def read(source: Object | None, effort: str | None) -> Reasoning | None:
    """The wish for thinking; None where the request says nothing."""
    if effort is not None and effort not in efforts.BUDGETS:
        raise BadRequest(
            f"Expected one of {', '.join(efforts.BUDGETS)}, got {effort!r}", "$.output_config.effort"
        )
    if source is None:
        return None if effort is None else Reasoning(effort=effort)
    path = "$.thinking"
    kind = a_text(required(source.get("type"), f"{path}.type"), f"{path}.type")
    if kind not in ("enabled", "adaptive", "disabled", "auto"):
        raise BadRequest(f"Expected 'enabled', 'adaptive' or 'disabled', got {kind!r}", f"{path}.type")
    display = opt_text(source, "display", path)
    return Reasoning(
        enabled=kind != "disabled",
        effort=effort,
        budget=opt_int(source, "budget_tokens", path),
        adaptive=kind in ("adaptive", "auto"),
        show=None if display is None else display != "omitted",
    )


def write(call: Call, aim: Aim, body: Object, dropped: Dropped, *, allowed: bool, thought_last: bool) -> None:
    """Puts ``thinking`` and the effort into ``body``.

    ``allowed``: not where a tool is forced. ``thought_last``: whether the last turn of the model begins with its thinking, as the API wants it
    where thinking goes on across a tool's result.
    """
    reasoning = call.reasoning
    if reasoning is None:
        return
    if call.dialect == NAME:
        _write_own(reasoning, body)
        if body.get("thinking", {}).get("type") == "enabled" and not thought_last and _in_loop(body):
            del body["thinking"]
            dropped.add("reasoning")
        return
    if reasoning.off:
        if aim.thinks is not False:
            body["thinking"] = {"type": "disabled"}
        return
    if aim.thinks is False or not allowed:
        dropped.add("reasoning")
        return
    if adapts(aim.model):
        body["thinking"] = {"type": "adaptive"}
        if reasoning.show is not False:
            body["thinking"]["display"] = "summarized"
        effort = efforts.asked(reasoning)
        word = None if effort is None else efforts.nearest(effort, efforts_of(aim.model))
        if word is not None:
            body["output_config"] = {"effort": word}
        elif effort is not None:
            dropped.add("reasoning.effort")
        return
    _write_budget(call, aim, reasoning, body, dropped, thought_last)


def _write_own(reasoning: Reasoning, body: Object) -> None:
    if reasoning.enabled is not None:
        kind = "disabled" if not reasoning.enabled else "adaptive" if reasoning.adaptive else "enabled"
        out: Object = {"type": kind}
        if reasoning.budget is not None:
            out["budget_tokens"] = reasoning.budget
        if reasoning.show is not None:
            out["display"] = "summarized" if reasoning.show else "omitted"
        body["thinking"] = out
    if reasoning.effort is not None:
        body["output_config"] = {"effort": reasoning.effort}


def _write_budget(
    call: Call, aim: Aim, reasoning: Reasoning, body: Object, dropped: Dropped, thought_last: bool
) -> None:
    if not thought_last and _in_loop(body):
        dropped.add("reasoning")
        return
    budget = reasoning.budget if reasoning.budget is not None and reasoning.budget > 0 else None
    if budget is None:
        if reasoning.effort is None and reasoning.enabled is None:
            return
        budget = efforts.BUDGETS.get(reasoning.effort or "", efforts.BUDGETS["medium"])
    limit: int = body["max_tokens"]
    if call.max_tokens is None and aim.max_output is None:
        limit = body["max_tokens"] = limit + budget
    room = limit - max(1, limit // 4)
    if room < MIN_BUDGET:
        dropped.add("reasoning")
        return
    body["thinking"] = {"type": "enabled", "budget_tokens": max(MIN_BUDGET, min(budget, room))}


def _in_loop(body: Object) -> bool:
    """Whether the last ask brings results of tools: without the thinking before them, which was another model's, none can go on."""
    asks = [message["content"] for message in body["messages"] if message["role"] == "user"]
    return bool(asks) and any(
        isinstance(block, dict) and block.get("type") == "tool_result" for block in asks[-1]
    )
