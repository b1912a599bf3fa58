"""Anthropic's Messages."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator

from apipod_proxy.simulator.ask import JSON, Ask, Refusal, Tool, find_unknown, is_object, media, strings
from apipod_proxy.simulator.signature import is_ours

KIND = "anthropic"
_KNOWN = frozenset(
    {
        *(
            "model",
            "messages",
            "max_tokens",
            "system",
            "metadata",
            "stop_sequences",
            "stream",
            "temperature",
            "top_k",
            "top_p",
        ),
        *(
            "tools",
            "tool_choice",
            "thinking",
            "service_tier",
            "container",
            "output_config",
            "inference_geo",
            "cache_control",
        ),
    }
)
# Members that only a beta header opens, by the beginning of its name.
_BETA_ONLY = {
    "context_management": ("context-management", "compact"),
    "mcp_servers": ("mcp-client",),
    "output_format": ("structured-outputs",),
    "speed": ("fast-mode",),
    "fallbacks": ("fallback",),
    "diagnostics": ("cache-diagnos", "diagnostics"),
}
_COUNTS_ONLY = frozenset(
    {"max_tokens", "stream", "temperature", "top_k", "top_p", "stop_sequences", "metadata"}
)
_SAMPLING = ("temperature", "top_p", "top_k")
_SAMPLING_ENDS = "2026-10-21"
_IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}\Z")
_TOOL_ID = re.compile(r"[a-zA-Z0-9_-]+\Z")


def read(body: JSON, *, version: str = "2023-06-01", betas: str = "", counting: bool = False) -> Ask:
    """Checks the request as Anthropic would and says what it asks for; raises Refusal.

    `counting` reads the body of count_tokens, which has no `max_tokens`.
    """
    opened = {
        name
        for name, prefixes in _BETA_ONLY.items()
        if any(beta.strip().startswith(prefixes) for beta in betas.split(","))
    }
    if unknown := find_unknown(body, _KNOWN | opened):
        raise Refusal(f"{unknown}: Extra inputs are not permitted")
    if version >= _SAMPLING_ENDS and (refused := next((name for name in _SAMPLING if name in body), None)):
        raise Refusal(f"{refused}: Extra inputs are not permitted")
    if counting and (refused := next((name for name in body if name in _COUNTS_ONLY), None)):
        raise Refusal(f"{refused}: Extra inputs are not permitted")
    for name in ("model", "messages") if counting else ("model", "max_tokens", "messages"):
        if name not in body:
            raise Refusal(f"{name}: Field required")
    if not isinstance(body["model"], str):
        raise Refusal("model: Input should be a valid string")
    ask = Ask(body["model"], stream=body.get("stream") is True)
    _read_knobs(body, ask)
    _read_tools(body, ask)
    _read_system(body.get("system"), ask)
    _Messages(ask, middle_system="mid-conversation-system" in betas).read(body["messages"])
    _check_thinking_history(body)
    _read_cache(body, ask)
    return ask


def _read_knobs(body: JSON, ask: Ask) -> None:
    most = body.get("max_tokens")
    if most is not None:
        if not isinstance(most, int) or isinstance(most, bool):
            raise Refusal("max_tokens: Input should be a valid integer")
        if most < 1:
            raise Refusal("max_tokens: Input should be greater than or equal to 1")
    ask.max_tokens = most
    temperature = body.get("temperature")
    if isinstance(temperature, int | float) and not 0 <= temperature <= 1:
        raise Refusal("temperature: range: 0..1")
    stops = body.get("stop_sequences")
    if stops is not None and not isinstance(stops, list):
        raise Refusal("stop_sequences: Input should be a valid list")
    ask.stops = strings(stops)
    if any(not stop.strip() for stop in ask.stops):
        raise Refusal("stop_sequences: each stop sequence must contain non-whitespace")
    match body.get("thinking"):
        case {"type": "enabled", "budget_tokens": int(budget)}:
            if budget < 1024:
                raise Refusal("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
            if most is not None and budget >= most:
                raise Refusal(
                    "`max_tokens` must be greater than `thinking.budget_tokens`. Please consult our documentation."
                )
            if temperature not in (None, 1):
                raise Refusal("`temperature` may only be set to 1 when thinking is enabled.")
            ask.thinking = True
        case {"type": "enabled"}:
            raise Refusal("thinking.enabled.budget_tokens: Field required")
        case {"type": "adaptive"}:
            ask.thinking = True
        case None | {"type": "disabled"}:
            pass
        case _:
            raise Refusal(
                "thinking: Input tag found using 'type' does not match any of the expected tags: 'adaptive', 'disabled', 'enabled'"
            )
    config = body.get("output_config")
    wanted = (config.get("format") if is_object(config) else None) or body.get("output_format")
    if is_object(wanted):
        ask.schema = wanted.get("schema") or {}


def _read_tools(body: JSON, ask: Ask) -> None:
    tools = body.get("tools")
    if tools is not None and not isinstance(tools, list):
        raise Refusal("tools: Input should be a valid list")
    for index, tool in enumerate(tools or ()):
        if not is_object(tool):
            raise Refusal(f"tools.{index}: Input should be a valid dictionary")
        if tool.get("type") not in (None, "custom"):
            continue  # one of Anthropic's own tools, which run on their side
        for name in ("name", "input_schema"):
            if name not in tool:
                raise Refusal(f"tools.{index}.custom.{name}: Field required")
        if unknown := find_unknown(tool, _TOOL_MEMBERS):
            raise Refusal(f"tools.{index}.custom.{unknown}: Extra inputs are not permitted")
        if not isinstance(tool["name"], str) or not _TOOL_NAME.match(tool["name"]):
            raise Refusal(
                f"tools.{index}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'"
            )
        if not is_object(tool["input_schema"]) or tool["input_schema"].get("type") != "object":
            raise Refusal(f"tools.{index}.custom.input_schema.type: Field required")
        if any(tool["name"] == other.name for other in ask.tools):
            raise Refusal("tools: Tool names must be unique.")
        ask.tools.append(Tool(tool["name"], tool["input_schema"]))
    choice = body.get("tool_choice")
    if choice is None:
        return
    if not tools:
        raise Refusal("tool_choice: tool_choice may only be specified while providing tools")
    ask.parallel = not (is_object(choice) and choice.get("disable_parallel_tool_use"))
    match choice:
        case {"type": "auto" | "any" | "none" as kind}:
            ask.choice = str(kind)
        case {"type": "tool", "name": str(name)}:
            if all(not is_object(tool) or tool.get("name") != name for tool in tools):
                raise Refusal(f"tool_choice: Tool '{name}' not found in provided tools")
            ask.choice = name
        case _:
            raise Refusal(
                "tool_choice: Input tag does not match any of the expected tags: 'auto', 'any', 'tool', 'none'"
            )
    thinking = body.get("thinking")
    if is_object(thinking) and thinking.get("type") == "enabled" and ask.choice not in ("auto", "none"):
        raise Refusal("Thinking may not be enabled when tool_choice forces tool use.")


_TOOL_MEMBERS = frozenset(
    {
        *(
            "name",
            "input_schema",
            "description",
            "cache_control",
            "type",
            "strict",
            "input_examples",
            "defer_loading",
        ),
        *("allowed_callers", "eager_input_streaming"),
    }
)


def _read_system(system: object, ask: Ask) -> None:
    if system is None:
        return
    if isinstance(system, str):
        ask.system.append(system)
    elif isinstance(system, list):
        for index, block in enumerate(system):
            if not is_object(block) or block.get("type") != "text" or not isinstance(block.get("text"), str):
                raise Refusal(f"system.{index}.type: Input should be 'text'")
            ask.system.append(block["text"])
    else:
        raise Refusal("system: Input should be a valid string or list")
    ask.characters += sum(map(len, ask.system))


class _Messages:
    """One walk over the messages, which remembers the calls that wait for their results."""

    def __init__(self, ask: Ask, *, middle_system: bool) -> None:
        self._ask = ask
        self._middle_system = middle_system
        self._calls: dict[str, str] = {}
        self._asked_at = -1

    def read(self, messages: object) -> None:
        if not isinstance(messages, list):
            raise Refusal("messages: Input should be a valid list")
        if not messages:
            raise Refusal("messages: at least one message is required")
        self._ask.turns = len(messages)
        before = ""
        for index, message in enumerate(messages):
            role = self._role(message, index)
            if role == "system":
                self._ask.system.append(
                    "".join(text for _, text in self._blocks(message, f"messages.{index}", role))
                )
                continue
            if not before and role != "user":
                raise Refusal('messages: first message must use the "user" role')
            if role == before:
                raise Refusal(
                    f'messages: roles must alternate between "user" and "assistant", but found multiple "{role}" roles in a row'
                )
            before = role
            if role == "user":
                self._user(message, index)
            else:
                self._assistant(message, index, last=index == len(messages) - 1)
        self._expect_results(set())

    def _role(self, message: object, index: int) -> str:
        if not is_object(message):
            raise Refusal(f"messages.{index}: Input should be a valid dictionary")
        for name in ("role", "content"):
            if name not in message:
                raise Refusal(f"messages.{index}.{name}: Field required")
        if unknown := find_unknown(message, frozenset({"role", "content"})):
            raise Refusal(f"messages.{index}.{unknown}: Extra inputs are not permitted")
        role = message["role"]
        if role == "system" and self._middle_system:
            return "system"
        if role not in ("user", "assistant"):
            if role == "system":
                raise Refusal(
                    'messages: Unexpected role "system". The Messages API accepts a top-level `system` parameter, '
                    'not "system" as an input message role.'
                )
            raise Refusal(f"messages.{index}.role: Input should be 'user' or 'assistant'")
        return str(role)

    def _expect_results(self, given: set[str]) -> None:
        missing = [call for call in self._calls if call not in given]
        if missing:
            raise Refusal(
                f"messages.{self._asked_at}: `tool_use` ids were found without `tool_result` blocks immediately after: "
                f"{', '.join(missing)}. Each `tool_use` block must have a corresponding `tool_result` block in the next message."
            )

    def _user(self, message: JSON, index: int) -> None:
        results: list[tuple[str, str]] = []
        texts: list[str] = []
        given: set[str] = set()
        for place, (block, text) in enumerate(self._blocks(message, f"messages.{index}", "user")):
            if block.get("type") != "tool_result":
                texts.append(text)
                continue
            call = block["tool_use_id"]
            if call not in self._calls:
                raise Refusal(
                    f"messages.{index}.content.{place}: unexpected `tool_use_id` found in `tool_result` blocks: {call}. "
                    "Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
                )
            if call in given:
                raise Refusal(
                    f"messages.{index}.content.{place}: each tool_use must have a single result. Found multiple `tool_result` blocks with id: {call}"
                )
            if texts:
                missing = [one for one in self._calls if one not in given]
                raise Refusal(
                    f"messages.{self._asked_at}: `tool_use` ids were found without `tool_result` blocks immediately after: "
                    f"{', '.join(missing)}. Each `tool_use` block must have a corresponding `tool_result` block in the next message."
                )
            given.add(call)
            results.append((self._calls[call], text))
        self._expect_results(given)
        self._calls = {}
        said = "\n".join(filter(None, texts))
        if results:
            self._ask.returns(results)
        else:
            self._ask.says(said)

    def _assistant(self, message: JSON, index: int, *, last: bool) -> None:
        self._asked_at = index
        content = message["content"]
        if last and isinstance(content, str) and content != content.rstrip():
            raise Refusal("messages: final assistant content cannot end with trailing whitespace")
        for place, (block, _) in enumerate(
            self._blocks(message, f"messages.{index}", "assistant", may_be_empty=last)
        ):
            if block.get("type") == "tool_use":
                if block["id"] in self._calls:
                    raise Refusal(f"messages.{index}.content.{place}: `tool_use` ids must be unique")
                self._calls[block["id"]] = block["name"]

    def _blocks(
        self, message: JSON, path: str, role: str, *, may_be_empty: bool = False
    ) -> Iterator[tuple[JSON, str]]:
        content = message["content"]
        if isinstance(content, str):
            if not content and not may_be_empty:
                raise Refusal(
                    f"{path}: all messages must have non-empty content except for the optional final assistant message"
                )
            self._ask.characters += len(content)
            yield {"type": "text"}, content
            return
        if not isinstance(content, list):
            raise Refusal(f"{path}.content: Input should be a valid string or list")
        if not content and not may_be_empty:
            raise Refusal(
                f"{path}: all messages must have non-empty content except for the optional final assistant message"
            )
        for index, block in enumerate(content):
            yield self._block(block, f"{path}.content.{index}", role)

    def _block(self, block: object, path: str, role: str) -> tuple[JSON, str]:
        if not is_object(block) or not isinstance(block.get("type"), str):
            raise Refusal(f"{path}.type: Field required")
        match block:
            case {"type": "text", "text": str(text)}:
                # Claude itself begins some answers with blank lines, so they come back.
                if not text.strip() and (role == "user" or not text):
                    what = "contain non-whitespace text" if text else "be non-empty"
                    raise Refusal(f"messages: text content blocks must {what}")
                self._ask.characters += len(text)
                return block, text
            case {"type": "image"} if role == "user":
                self._ask.images.append(_image(block, path))
            case {"type": "document"} if role == "user":
                self._ask.documents.append(_document(block, path))
            case {"type": "tool_result", "tool_use_id": str()} if role == "user":
                return block, self._result(block, path)
            case {"type": "tool_use", "id": str(call), "name": str(), "input": dict()} if role == "assistant":
                if not _TOOL_ID.match(call):
                    raise Refusal(f"{path}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'")
            case {"type": "thinking", "thinking": str(text), "signature": str(signature)} if (
                role == "assistant"
            ):
                if not is_ours(KIND, signature, text):
                    raise Refusal(f"{path}: Invalid `signature` in `thinking` block")
            case {"type": "redacted_thinking", "data": str(data)} if role == "assistant":
                if not is_ours(KIND, data, None):
                    raise Refusal(f"{path}: Invalid `data` in `redacted_thinking` block")
            case {
                "type": "tool_result"
                | "tool_use"
                | "thinking"
                | "redacted_thinking"
                | "image"
                | "document"
                | "text" as kind
            }:
                if (kind in ("tool_result", "image", "document")) != (role == "user") and kind != "text":
                    raise Refusal(f"{path}: `{kind}` blocks are not permitted in `{role}` messages")
                raise Refusal(f"{path}.{kind}: Field required")
            case _:
                # Blocks of Anthropic's own tools, search results and the like: nothing that is simulated hangs on them.
                pass
        return block, ""

    def _result(self, block: JSON, path: str) -> str:
        content = block.get("content")
        if content is None or isinstance(content, str):
            text = content or ""
        elif isinstance(content, list):
            text = "\n".join(
                filter(
                    None,
                    (self._block(inner, f"{path}.content.{i}", "user")[1] for i, inner in enumerate(content)),
                )
            )
        else:
            raise Refusal(f"{path}.tool_result.content: Input should be a valid string or list")
        return f"error: {text}" if block.get("is_error") else text


def _image(block: JSON, path: str) -> str:
    match block.get("source"):
        case {"type": "base64", "media_type": str(kind), "data": str(data)}:
            if kind not in _IMAGES:
                raise Refusal(
                    f"{path}.image.source.base64.media_type: Input should be 'image/jpeg', 'image/png', 'image/gif' or 'image/webp'"
                )
            return media(kind, data)
        case {"type": "url", "url": str(url)}:
            if not url.startswith("https://"):
                raise Refusal(f"{path}.image.source.url: Only HTTPS URLs are supported.")
            return url
        case {"type": "file", "file_id": str(file)}:
            return file
        case _:
            raise Refusal(f"{path}.image.source: Field required")


def _document(block: JSON, path: str) -> str:
    match block.get("source"):
        case {"type": "base64", "media_type": "application/pdf" as kind, "data": str(data)}:
            return media(kind, data)
        case {"type": "text", "media_type": "text/plain" as kind, "data": str(text)}:
            return f"{kind}, {len(text.encode())} bytes"
        case {"type": "url", "url": str(url)}:
            return url
        case {"type": "file", "file_id": str(file)}:
            return file
        case {"type": "content"}:
            return "content"
        case _:
            raise Refusal(
                f"{path}.document.source: Input tag does not match any of the expected tags: 'base64', 'text', 'content', 'url', 'file'"
            )


def _check_thinking_history(body: JSON) -> None:
    """With a thinking budget, a turn whose tool calls are being answered has to begin with its thinking."""
    thinking = body.get("thinking")
    messages = body["messages"]
    if not is_object(thinking) or thinking.get("type") != "enabled" or len(messages) < 2:
        return
    last, before = messages[-1]["content"], messages[-2]["content"]
    if not (
        isinstance(last, list)
        and any(block.get("type") == "tool_result" for block in last)
        and isinstance(before, list)
    ):
        return
    first = before[0].get("type")
    if first not in ("thinking", "redacted_thinking"):
        raise Refusal(
            f"messages.{len(messages) - 2}.content.0.type: Expected `thinking` or `redacted_thinking`, but found `{first}`. "
            "When `thinking` is enabled, a final `assistant` message must start with a thinking block "
            "(preceeding the lastmost set of `tool_use` and `tool_result` blocks)."
        )


def _read_cache(body: JSON, ask: Ask) -> None:
    """Counts the tokens before the last cache mark; the server decides whether it has seen that prefix before."""
    marks = sum(1 for block in _cacheable(body) if is_object(block) and block.get("cache_control"))
    if marks > 4:
        raise Refusal(f"A maximum of 4 blocks with cache_control may be provided. Found {marks}.")
    if not marks and not body.get("cache_control"):
        return
    size = seen = 0
    for block in _cacheable(body):
        seen += len(json.dumps(block, ensure_ascii=False)) if is_object(block) else len(str(block))
        if body.get("cache_control") or (is_object(block) and block.get("cache_control")):
            size = seen
    ask.cache_write = size // 4


def _cacheable(body: JSON) -> Iterator[object]:
    yield from body.get("tools") or ()
    yield from body["system"] if isinstance(body.get("system"), list) else ()
    for message in body["messages"]:
        yield from message["content"] if isinstance(message["content"], list) else (message["content"],)


def cache_prefix(body: JSON) -> bytes:
    """A digest of all that stands before the last cache mark."""
    digest = hashlib.sha256()
    marked = b""
    for block in _cacheable(body):
        bare = (
            {key: value for key, value in block.items() if key != "cache_control"}
            if is_object(block)
            else block
        )
        digest.update(json.dumps(bare, sort_keys=True).encode())
        if is_object(block) and block.get("cache_control"):
            marked = digest.digest()
    return digest.digest() if body.get("cache_control") else marked
