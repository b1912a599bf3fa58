"""Names that other gateways read from the environment, read as they did."""

from __future__ import annotations

import re
from collections.abc import Mapping

AUTH_TOKEN = "AUTH_TOKEN"  # noqa: S105 - the name of a variable
CLIENT_TIMEOUT = "CLIENT_TIMEOUT"
CONFIG_ENCRYPTION_KEY = "CONFIG_ENCRYPTION_KEY"

KEY_NAMES: Mapping[str, str] = {
    "openai": "OPENAI_API_KEY",
    "gemini": "GEMINI_API_KEY",
    "anthropic": "ANTHROPIC_API_KEY",
}
"""By vendor; each may also stand there with a number: OPENAI_API_KEY_1."""

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")


def key_names(vendor: str, environment: Mapping[str, str]) -> list[str]:
    """The variables that hold a key of ``vendor``, the one without a number first. The same key twice counts once."""
    name = KEY_NAMES.get(vendor)
    if name is None:
        return []
    numbered = (re.fullmatch(rf"{name}_([0-9]{{1,4}})", variable) for variable in environment)
    numbers = sorted((int(match[1]), match[0]) for match in numbered if match)
    found: dict[str, str] = {}
    for variable in (name, *(variable for _, variable in numbers)):
        key = environment.get(variable, "").strip()
        if key:
            found.setdefault(key, variable)
    return list(found.values())


def seconds_of(duration: str) -> float | None:
    """Seconds of a duration as Go writes it (``1.5s``, ``2m30s``, ``0``); None for what is none."""
    text = duration.strip()
    if text == "0":
        return 0.0
    if not text or _PART.sub("", text):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))


def retries_in(environment: Mapping[str, str], notes: list[str]) -> dict[str, float]:
    """``retries`` of a provider as RETRY_MAX_RETRIES, RETRY_BASE_DELAY, RETRY_MAX_DELAY and RETRY_JITTER say; what is wrong is noted."""
    found: dict[str, float] = {}
    for name, field, high in (
        ("RETRY_MAX_RETRIES", "attempts", 99.0),
        ("RETRY_BASE_DELAY", "base", 3600.0),
        ("RETRY_MAX_DELAY", "max", 3600.0),
        ("RETRY_JITTER", "jitter", 1.0),
    ):
        text = environment.get(name, "").strip()
        if not text:
            continue
        value = seconds_of(text) if field in ("base", "max") else _number(text)
        if value is None or not 0 <= value <= high or (field == "attempts" and not value.is_integer()):
            what = "a duration as 500ms or 2s" if field in ("base", "max") else f"a number from 0 to {high:g}"
            notes.append(f"{name} is {text!r} and was left out; allowed: {what}")
            continue
        # Retries are what comes after the first attempt.
        found[field] = value + 1 if field == "attempts" else value
    return {field: int(value) if value.is_integer() else value for field, value in found.items()}


def client_timeout(environment: Mapping[str, str], notes: list[str]) -> float | None:
    """Seconds of CLIENT_TIMEOUT; None where it is not set, or wrong, which is noted."""
    text = environment.get(CLIENT_TIMEOUT, "").strip()
    if not text:
        return None
    value = seconds_of(text) if _number(text) is None else _number(text)
    if value is not None and 0 < value <= 86400:
        return int(value) if value.is_integer() else value
    notes.append(f"{CLIENT_TIMEOUT} is {text!r} and was left out; allowed: seconds, more than 0 to 86400")
    return None


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text) else None
