"""The messages of a Messages request, both ways."""

from __future__ import annotations

from apipod_proxy.dialect import Aim
from apipod_proxy.dialect.anthropic.content import read_blocks, tool_id, write_call, write_media, write_text
from apipod_proxy.dialect.anthropic.names import NAME
from apipod_proxy.dialect.dropped import Dropped
from apipod_proxy.dialect.fields import Object, a_list, a_text, an_object, required
from apipod_proxy.dialect.places import place_of
from apipod_proxy.dialect.vocabulary import (
    Call,
    Json,
    Media,
    Message,
    Opaque,
    Part,
    Refusal,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from apipod_proxy.errors import BadRequest

ROLES = {"user": Role.USER, "assistant": Role.ASSISTANT, "system": Role.SYSTEM}


# Messages → ours


def read_messages(source: Object) -> list[Message]:
    """System text first, as a message of its own; then the turns."""
    messages = []
    system = source.get("system")
    if system:
        messages.append(Message(Role.SYSTEM, read_blocks(system, "$.system")))
    items = a_list(required(source.get("messages"), "$.messages"), "$.messages")
    if not items:
        raise BadRequest("At least one message is required", "$.messages")
    for index, item in enumerate(items):
        path = f"$.messages[{index}]"
        turn = an_object(item, path)
        name = a_text(required(turn.get("role"), f"{path}.role"), f"{path}.role")
        if name not in ROLES:
            raise BadRequest(f"Expected 'user', 'assistant' or 'system', got {name!r}", f"{path}.role")
        message = Message(
            ROLES[name], read_blocks(required(turn.get("content"), f"{path}.content"), f"{path}.content")
        )
        if message.role is Role.USER and any(isinstance(part, ToolResult) for part in message.parts):
            message.parts.sort(key=lambda part: not isinstance(part, ToolResult))
        kept = {
            key: value for key, value in turn.items() if key not in ("role", "content") and value is not None
        }
        if kept:
            message.extra = Opaque(NAME, kept)
        messages.append(message)
    return messages


# Ours → Messages


class MessagesWriter:
    """Writes system and messages for one target. ``signs``: whose signed thinking it takes back."""

    def __init__(self, call: Call, aim: Aim, dropped: Dropped) -> None:
        self._call = call
        self._own = call.dialect == NAME
        self._signs = aim.signs or NAME
        self._strict_ids = "claude" in aim.model.lower()
        """Others take any id, and some models of theirs want to see it again as they wrote it."""
        self._fetches_urls = aim.quirks.fetches_urls
        self._dropped = dropped
        self.system: list[Object] = []
        self.messages: list[Object] = []
        self.thought_last = False
        """The last turn of the model begins with its thinking."""

    def write(self) -> None:
        for message in self._call.messages:
            if message.role in (Role.SYSTEM, Role.DEVELOPER):
                self._system(message)
            else:
                self._turn(message)
        if not self.messages:
            raise BadRequest("At least one message with content is required", "$.messages")
        last = self.messages[-1]
        if last["role"] == "assistant" and not self._own:
            # An answer begun by the client may not end in a blank.
            block = last["content"][-1]
            if block.get("type") == "text":
                block["text"] = block["text"].rstrip()

    def _system(self, message: Message) -> None:
        blocks = self._blocks(message)
        if not self.messages:
            self.system += blocks
        elif self._own:
            self._add("system", blocks, message)
        else:
            # The role stands only in front; here its text is marked as what it is.
            for block in blocks:
                block["text"] = f"<system>\n{block.get('text', '')}\n</system>"
            self._add("user", blocks, message)

    def _turn(self, message: Message) -> None:
        blocks = self._blocks(message)
        role = "assistant" if message.role is Role.ASSISTANT else "user"
        if role == "assistant":
            self.thought_last = bool(blocks) and blocks[0]["type"] in ("thinking", "redacted_thinking")
        if message.name is not None:
            self._dropped.add("name")
        if blocks or self._own:
            self._add(role, blocks, message)

    def _add(self, role: str, blocks: list[Object], message: Message) -> None:
        """Turns of one role in a row become one: results of parallel calls have to stand together."""
        if not self._own and self.messages and self.messages[-1]["role"] == role:
            content = self.messages[-1]["content"]
            results = [block for block in blocks if block["type"] == "tool_result"]
            at = next(
                (index for index, block in enumerate(content) if block["type"] != "tool_result"), len(content)
            )
            content[at:at] = results
            content += [block for block in blocks if block["type"] != "tool_result"]
            return
        out: Object = {"role": role, "content": blocks}
        if message.extra is not None and message.extra.dialect == NAME:
            out |= message.extra.payload
        elif message.extra is not None:
            self._dropped.add(message.extra.what)
        self.messages.append(out)

    def _blocks(self, message: Message) -> list[Object]:
        blocks = []
        for part in message.parts:
            block = self._block(message, part)
            if block is not None:
                blocks.append(block)
        return blocks

    def _block(self, message: Message, part: Part) -> Object | None:
        if isinstance(part, Text):
            if part.signature is not None:
                self._dropped.add("thinking.signature")
            if not part.text and not self._own:
                return None
            return self._marked(write_text(part), part.cache)
        if isinstance(part, Thinking):
            return self._thinking(part)
        if isinstance(part, ToolCall):
            if part.signature is not None:
                self._dropped.add("thinking.signature")
            return self._marked(write_call(part, self._id(part.id)), part.cache)
        if isinstance(part, ToolResult):
            return self._result(message, part)
        if isinstance(part, Media):
            if part.detail is not None:
                self._dropped.add("detail")
            if part.url is not None and part.data is None and not self._fetches_urls:
                raise BadRequest(
                    "This model's provider loads no URLs; send the bytes", place_of(self._call, message, part)
                )
            return self._marked(write_media(part, self._own, place_of(self._call, message, part)), part.cache)
        if isinstance(part, Refusal):
            return {"type": "text", "text": part.text} if part.text else None
        if part.dialect == NAME and isinstance(part.payload, dict):
            return part.payload
        raise BadRequest("This content cannot be sent to this model", place_of(self._call, message, part))

    def _thinking(self, part: Thinking) -> Object | None:
        if part.signature is None or part.signed_by not in (NAME, self._signs):
            # Unsigned thinking and that of other models is refused.
            self._dropped.add("thinking")
            return None
        if part.redacted:
            return {"type": "redacted_thinking", "data": part.signature}
        return {"type": "thinking", "thinking": part.text, "signature": part.signature}

    def _id(self, identity: str) -> str:
        return tool_id(identity) if self._strict_ids else identity or "_"

    def _result(self, message: Message, part: ToolResult) -> Object:
        out: Object = {"type": "tool_result", "tool_use_id": self._id(part.call_id)}
        blocks = [block for item in part.content if (block := self._block(message, item)) is not None]
        if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
            out["content"] = blocks[0]["text"]
        elif blocks:
            out["content"] = blocks
        if part.is_error:
            out["is_error"] = True
        return self._marked(out, part.cache)

    def _marked(self, block: Object, cache: Json) -> Object:
        if cache is not None:
            block["cache_control"] = cache
        return block
