"""Names of the Gemini API: the spelling of fields, and the two tables of finish reasons."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from apipod_proxy.dialect.vocabulary import StopReason
from apipod_proxy.errors import BadRequest, Kind

Json = Any

NAME = "gemini"
"""The name of the dialect, also in signatures and opaque parts."""

SKIP_VALIDATION = "skip_thought_signature_validator"
"""Stands in for a signature that another model's call does not have; the API documents it for that use."""

# SDKs that take it for base64 write it in the standard alphabet, and those that take it for bytes encode it.
_STAND_INS = frozenset(
    {SKIP_VALIDATION, SKIP_VALIDATION.replace("_", "/"), b64encode(SKIP_VALIDATION.encode()).decode()}
)

REASONS: Mapping[str, StopReason] = {
    "STOP": StopReason.STOP,
    "MAX_TOKENS": StopReason.LENGTH,
    "CONTINUATION": StopReason.LENGTH,
    "SAFETY": StopReason.CONTENT_FILTER,
    "RECITATION": StopReason.CONTENT_FILTER,
    "BLOCKLIST": StopReason.CONTENT_FILTER,
    "PROHIBITED_CONTENT": StopReason.CONTENT_FILTER,
    "SPII": StopReason.CONTENT_FILTER,
    "MODEL_ARMOR": StopReason.CONTENT_FILTER,
    "ESCALATION": StopReason.CONTENT_FILTER,
    "IMAGE_SAFETY": StopReason.CONTENT_FILTER,
    "IMAGE_PROHIBITED_CONTENT": StopReason.CONTENT_FILTER,
    "IMAGE_RECITATION": StopReason.CONTENT_FILTER,
    "MALFORMED_FUNCTION_CALL": StopReason.MALFORMED_CALL,
    "UNEXPECTED_TOOL_CALL": StopReason.MALFORMED_CALL,
    "TOO_MANY_TOOL_CALLS": StopReason.OTHER,
    "LANGUAGE": StopReason.OTHER,
    "IMAGE_OTHER": StopReason.OTHER,
    "NO_IMAGE": StopReason.OTHER,
    "MISSING_THOUGHT_SIGNATURE": StopReason.OTHER,
    "MALFORMED_RESPONSE": StopReason.OTHER,
    "PUP_LIMITED_DISABLED": StopReason.OTHER,
    "OTHER": StopReason.OTHER,
}
WORDS: Mapping[StopReason, str] = {
    StopReason.STOP: "STOP",
    StopReason.STOP_SEQUENCE: "STOP",
    StopReason.TOOL_USE: "STOP",
    StopReason.PAUSE: "STOP",
    StopReason.LENGTH: "MAX_TOKENS",
    StopReason.CONTEXT_WINDOW: "MAX_TOKENS",
    StopReason.CONTENT_FILTER: "SAFETY",
    StopReason.REFUSAL: "PROHIBITED_CONTENT",
    StopReason.MALFORMED_CALL: "MALFORMED_FUNCTION_CALL",
    StopReason.OTHER: "OTHER",
}
"""The inverse of REASONS where it has one."""

_SHARED_NUMBERS = {
    0: "",
    1: "STOP",
    2: "MAX_TOKENS",
    3: "SAFETY",
    4: "RECITATION",
    5: "OTHER",
    11: "IMAGE_SAFETY",
}
NUMBERS: Mapping[int, str] = {
    **_SHARED_NUMBERS,
    6: "LANGUAGE",
    7: "BLOCKLIST",
    8: "PROHIBITED_CONTENT",
    9: "SPII",
    10: "MALFORMED_FUNCTION_CALL",
    12: "UNEXPECTED_TOOL_CALL",
    13: "TOO_MANY_TOOL_CALLS",
}
"""``finishReason`` as AI Studio numbers it (``enum-encoding=int``)."""
VERTEX_NUMBERS: Mapping[int, str] = {
    **_SHARED_NUMBERS,
    6: "BLOCKLIST",
    7: "PROHIBITED_CONTENT",
    8: "SPII",
    9: "MALFORMED_FUNCTION_CALL",
    10: "MODEL_ARMOR",
    12: "IMAGE_PROHIBITED_CONTENT",
    13: "IMAGE_RECITATION",
    14: "IMAGE_OTHER",
    15: "UNEXPECTED_TOOL_CALL",
    16: "NO_IMAGE",
}
"""The same for Vertex, which gave other numbers to the later ones."""


def finish_word(value: Json, vertex: bool) -> str:
    """The name of a finish reason given as a name or a number; empty where it says nothing."""
    if isinstance(value, str):
        return "" if value == "FINISH_REASON_UNSPECIFIED" else value
    if isinstance(value, int) and value:
        return (VERTEX_NUMBERS if vertex else NUMBERS).get(value, "OTHER")
    return ""


_MODALITIES = ("MODALITY_UNSPECIFIED", "TEXT", "IMAGE", "VIDEO", "AUDIO", "DOCUMENT")
_TRAFFIC = ("TRAFFIC_TYPE_UNSPECIFIED", "ON_DEMAND", "PROVISIONED_THROUGHPUT")


def with_names(metadata: dict[str, Json]) -> dict[str, Json]:
    """``usageMetadata`` with its numbered enums by name: SDKs fail on the numbers, which some clients of Vertex ask for."""
    out = dict(metadata)
    if isinstance(traffic := out.get("trafficType"), int):
        out["trafficType"] = _TRAFFIC[traffic] if traffic < len(_TRAFFIC) else _TRAFFIC[0]
    for key, details in metadata.items():
        if key.endswith("TokensDetails") and isinstance(details, list):
            out[key] = [_with_modality(item) if isinstance(item, dict) else item for item in details]
    return out


def _with_modality(item: dict[str, Json]) -> dict[str, Json]:
    number = item.get("modality")
    if not isinstance(number, int):
        return item
    return {**item, "modality": _MODALITIES[number] if number < len(_MODALITIES) else _MODALITIES[0]}


STATUSES: Mapping[Kind, str] = {
    Kind.INVALID_REQUEST: "INVALID_ARGUMENT",
    Kind.TOO_LARGE: "INVALID_ARGUMENT",
    Kind.METHOD_NOT_ALLOWED: "INVALID_ARGUMENT",
    Kind.AUTHENTICATION: "UNAUTHENTICATED",
    Kind.PERMISSION: "PERMISSION_DENIED",
    Kind.NOT_FOUND: "NOT_FOUND",
    Kind.RATE_LIMIT: "RESOURCE_EXHAUSTED",
    Kind.QUOTA: "RESOURCE_EXHAUSTED",
    Kind.TIMEOUT: "DEADLINE_EXCEEDED",
    Kind.OVERLOADED: "UNAVAILABLE",
    Kind.UPSTREAM: "UNAVAILABLE",
    Kind.UNSUPPORTED: "UNIMPLEMENTED",
    Kind.INTERNAL: "INTERNAL",
}


def camel(key: str) -> str:
    """``max_output_tokens`` → ``maxOutputTokens``."""
    head, *rest = key.split("_")
    return head + "".join(word[:1].upper() + word[1:] for word in rest) if head else key


def camel_keys(value: dict[str, Json], path: str) -> dict[str, Json]:
    """The object with its own keys in camelCase; a field given in both spellings is a BadRequest."""
    for key in value:
        if "_" in key:
            break
    else:
        return value
    out: dict[str, Json] = {}
    for key, item in value.items():
        name = camel(key)
        if name in out or (name != key and name in value):
            raise BadRequest(
                f"This field is given twice, as '{name}' and in another spelling", f"{path}.{name}"
            )
        out[name] = item
    return out


def camel_deep(value: Json) -> Json:
    """Every key below in camelCase, for objects that hold no names or values of the user's."""
    if isinstance(value, dict):
        return {camel(key): camel_deep(item) for key, item in value.items()}
    if isinstance(value, list):
        return [camel_deep(item) for item in value]
    return value


_GENERATION = re.compile(r"gemini-(\d+)(?:\.(\d+))?")


def stands_in(signature: str) -> bool:
    """Whether it says no more than that there is no signature."""
    return signature in _STAND_INS


def generation(model: str) -> float | None:
    """2.5 for ``models/gemini-2.5-flash``; None where the name does not say it."""
    found = _GENERATION.search(model)
    return float(f"{found[1]}.{found[2] or 0}") if found else None
