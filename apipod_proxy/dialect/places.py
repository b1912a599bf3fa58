"""Where something of a call stood in the client's request, for errors of an encoder that cannot carry it."""

from __future__ import annotations

from apipod_proxy.dialect.vocabulary import Call, Message, Opaque, Part, Role


def place_of(call: Call, message: Message, part: Part) -> str:
    """The path of ``part``, as near as the neutral form still tells; opaque parts know theirs."""
    if isinstance(part, Opaque) and part.what.startswith("$"):
        return part.what
    field = {"gemini": "contents", "openai_responses": "input"}.get(call.dialect, "messages")
    inner = "parts" if call.dialect == "gemini" else "content"
    # Where the system text is a field of its own, messages are counted without it.
    apart = call.dialect in ("anthropic", "gemini")
    index = 0
    for other in call.messages:
        if other is message:
            break
        if not (apart and other.role is Role.SYSTEM and index == 0):
            index += 1
    position = next((number for number, item in enumerate(message.parts) if item is part), 0)
    return f"$.{field}[{index}].{inner}[{position}]"
