"""What OpenAI's models take, told by their names. Pure.

https://platform.openai.com/docs/guides/reasoning; the pages of the models say which efforts each of them knows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from apipod_proxy.dialect.efforts import USUAL
from apipod_proxy.dialect.vocabulary import Call, Json

_TAKES_EFFORT = re.compile(
    r"(?:^|/)(?:gpt-(?:[5-9]|\d\d|oss)|o[1-9](?:-|$)|codex|grok-3-mini|grok-4\.[3-9](?!\d)|deepseek-v[4-9]|gemini-(?:2\.5|[3-9]))",
    re.IGNORECASE,
)
"""Others refuse the whole request for it, or were never heard of."""
_VERSION = re.compile(r"(?:^|/)gpt-(\d+)(?:\.(\d+))?", re.IGNORECASE)
_FIXED = (
    "temperature",
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "stop",
)
"""What OpenAI's own refuse; the two first they take at their default."""
_FREE_WITHOUT_THINKING = frozenset({"temperature", "top_p", "logprobs", "top_logprobs"})
"""What those from 5.1 on take where they are told not to think."""
_OWN_REASONS = re.compile(r"o[1-9](?:-|$)|gpt-(?:[5-9]|\d\d)(?!-chat)", re.IGNORECASE)


def efforts_of(model: str, thinks: bool | None = None) -> tuple[str, ...]:
    """The efforts that ``model`` knows, none where it takes no effort. ``thinks``: whether it reasons, where somebody said."""
    if thinks is False or (thinks is None and not _TAKES_EFFORT.search(model)):
        return ()
    if "grok-3-mini" in model:
        return ("low", "high")
    if "grok-4.3" in model:
        return ("none", *USUAL)
    if "deepseek-v" in model:
        return ("low", "high", "max")
    version = _version(model)
    if version < (5, 0):
        return USUAL
    if "-chat" in model:
        return ("medium",)
    newer = version >= (5, 2)
    if "-pro" in model:
        return ("medium", "high", "xhigh") if newer else ("high",)
    if "codex" in model:
        return (*USUAL, "xhigh") if newer or "codex-max" in model else USUAL
    if version < (5, 1):
        return ("minimal", *USUAL)
    known = ("none", *USUAL, "xhigh") if newer else ("none", *USUAL)
    return (*known, "max") if version >= (5, 6) else known


def fixed_sampling(model: str) -> bool:
    """Whether the model is one of OpenAI's own that refuse sampling other than their own, and stops. Routers, which put a vendor before the
    name, leave out themselves what a model does not take.
    """
    return _OWN_REASONS.match(model) is not None


def refused(body: Mapping[str, Json], model: str, effort: str | None) -> list[str]:
    """The members of ``body`` for which the model refuses the whole request, if it is asked to think with ``effort``. Clients of other dialects
    send what is usual there.
    """
    if not fixed_sampling(model):
        return []
    free = _FREE_WITHOUT_THINKING if effort == "none" and _version(model) >= (5, 1) else ()
    return [
        name
        for name in _FIXED
        if name not in free
        and (value := body.get(name)) is not None
        and not (value == 1 and name in ("temperature", "top_p"))
    ]


def thinks_without_tools(model: str) -> bool:
    """Whether the model is one of OpenAI's own that take tools in Chat only where they need not think; with both they want Responses."""
    return "/" not in model and "-chat" not in model and _version(model) >= (5, 2)


def loses_thinking(call: Call, model: str) -> bool:
    """Whether Chat would answer this request of another dialect without the thinking that it asks for."""
    asks = call.reasoning is not None and not call.reasoning.off
    return asks and bool(call.tools) and thinks_without_tools(model)


def _version(model: str) -> tuple[int, int]:
    found = _VERSION.search(model)
    return (int(found[1]), int(found[2] or 0)) if found else (0, 0)
