"""What providers say when they fail. Ten shapes of body, shared by every dialect, since a provider's errors often speak another
one than its answers: ``{"error": {…}}``, ``{"type": "error", …}``, ``{"error": "text"}``, ``{"detail": …}``, ``{"message": …}`` and their kin.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import NamedTuple

import orjson

from apipod_proxy.dialect.vocabulary import Failure, Json
from apipod_proxy.errors import Kind, UpstreamStatus

MAX_MESSAGE = 4000

BY_STATUS: Mapping[int, Kind] = {
    400: Kind.INVALID_REQUEST,
    401: Kind.AUTHENTICATION,
    402: Kind.QUOTA,
    403: Kind.PERMISSION,
    404: Kind.NOT_FOUND,
    405: Kind.METHOD_NOT_ALLOWED,
    408: Kind.TIMEOUT,
    409: Kind.UPSTREAM,
    413: Kind.TOO_LARGE,
    415: Kind.INVALID_REQUEST,
    422: Kind.INVALID_REQUEST,
    429: Kind.RATE_LIMIT,
    501: Kind.UNSUPPORTED,
    503: Kind.OVERLOADED,
    504: Kind.TIMEOUT,
    529: Kind.OVERLOADED,
}
BY_WORD: Mapping[str, tuple[Kind, int]] = {
    "invalid_request_error": (Kind.INVALID_REQUEST, 400),
    "invalid_argument": (Kind.INVALID_REQUEST, 400),
    "failed_precondition": (Kind.INVALID_REQUEST, 400),
    "out_of_range": (Kind.INVALID_REQUEST, 400),
    "context_length_exceeded": (Kind.INVALID_REQUEST, 400),
    "invalid_prompt": (Kind.INVALID_REQUEST, 400),
    "authentication_error": (Kind.AUTHENTICATION, 401),
    "invalid_api_key": (Kind.AUTHENTICATION, 401),
    "unauthenticated": (Kind.AUTHENTICATION, 401),
    "billing_error": (Kind.QUOTA, 402),
    "insufficient_quota": (Kind.QUOTA, 429),
    "permission_error": (Kind.PERMISSION, 403),
    "permission_denied": (Kind.PERMISSION, 403),
    "not_found_error": (Kind.NOT_FOUND, 404),
    "not_found": (Kind.NOT_FOUND, 404),
    "model_not_found": (Kind.NOT_FOUND, 404),
    "request_too_large": (Kind.TOO_LARGE, 413),
    "rate_limit_error": (Kind.RATE_LIMIT, 429),
    "rate_limit_exceeded": (Kind.RATE_LIMIT, 429),
    "resource_exhausted": (Kind.RATE_LIMIT, 429),
    "too_many_requests": (Kind.RATE_LIMIT, 429),
    "timeout_error": (Kind.TIMEOUT, 504),
    "deadline_exceeded": (Kind.TIMEOUT, 504),
    "overloaded_error": (Kind.OVERLOADED, 529),
    "unavailable": (Kind.OVERLOADED, 503),
    "service_unavailable": (Kind.OVERLOADED, 503),
    "api_error": (Kind.UPSTREAM, 500),
    "server_error": (Kind.UPSTREAM, 500),
    "internal": (Kind.UPSTREAM, 500),
    "internal_server_error": (Kind.UPSTREAM, 500),
}
OF_ANOTHER_ACCOUNT = frozenset({"previous_response_not_found", "invalid_encrypted_content"})
"""Codes of what one account does not know and another may: a response that it keeps, reasoning that it sealed."""
_QUOTA = re.compile(
    r"insufficient_quota|exceeded your current quota|credit balance is too low|insufficient (?:balance|credits|funds)"
    r"|billing_hard_limit|out of credits|requires more credits|spending limit|payment required",
    re.IGNORECASE,
)
_QUOTA_START = re.compile(
    rf"(?:\w+: )?(?:your? |this \w+ )?(?:have |has )?(?:{_QUOTA.pattern})", re.IGNORECASE
)
_BAD_KEY = re.compile(
    r"(?:\w+: )?(?:API_KEY_INVALID|(?:incorrect|invalid|no valid|missing) api[ _-]?key|api key not valid)",
    re.IGNORECASE,
)
"""How the message of a refused key begins; further on it may hold the client's own words."""
TOO_LONG = "context_length_exceeded"
"""The code by which clients know that they have to shorten the conversation; most providers only say it in a sentence."""
_TOO_LONG = re.compile(
    r"prompt is too long|(?:maximum|model's) context (?:length|window)|(?:exceeds?|exceeded) (?:the |your )?context (?:length|window|limit)"
    r"|input token count .{0,40}exceeds the maximum|too many (?:input )?tokens in (?:the )?(?:prompt|input)",
    re.IGNORECASE,
)
_NO_MODEL = re.compile(r"model|deployment", re.IGNORECASE)
_WAIT = re.compile(
    r"(?:try again|retry) (?:in|after) (?:(\d+)m)?(\d+(?:\.\d+)?) ?(ms|s\b|sec|seconds?\b)", re.IGNORECASE
)
_DELAY = re.compile(r"(\d+(?:\.\d+)?)s")
_SECRETS = re.compile(
    r"\b(?:sk|pk|rk|gsk|xai|nvapi|apk|hf|csk|tgp|pplx|fw|key)[-_][A-Za-z0-9_*.\-]{8,}"
    r"|\bAIza[0-9A-Za-z_\-*]{10,}"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{12,}"
    r"|\bya29\.[0-9A-Za-z_\-.]{10,}"
    r"|\beyJ[A-Za-z0-9_\-]{10,}\.[A-Za-z0-9_\-.]+"
    r"|(?<=[Bb]earer )[^\s\"',]{8,}"
    r"|\b(?=[A-Za-z0-9]*[0-9])(?=[A-Za-z0-9]*[A-Za-z])[A-Za-z0-9]{40,}\b"
)
ADVICE = {"true": True, "false": False}
_MODERATED = re.compile(r"content violates usage guidelines", re.IGNORECASE)
_WHOSE = re.compile(r" Team: [^,]*, API key ID: [^,]*,")
"""Whose account refused it, in such a message: not the client's to know."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


class Said(NamedTuple):
    """What an error body says; each field None where it does not."""

    message: str | None = None
    word: str | None = None
    """Its own type or status word, in lower case."""
    code: str | None = None
    param: str | None = None
    status: int | None = None
    wait: float | None = None


def cleaned(message: str) -> str:
    """``message`` as it may be shown: what looks like a key masked, control characters gone, of bounded length."""
    return _CONTROL.sub(" ", _SECRETS.sub("[masked]", message)).strip()[:MAX_MESSAGE]


def decode_error(status: int, headers: Mapping[str, str], body: bytes) -> UpstreamStatus:
    """The error that an answer with this status holds. Header names are in lower case."""
    value = parsed(body)
    said = read(value)
    if _is_moderated(status, value, said):
        return _moderated(status, said)
    kind = kind_of(status, said)
    text = said.message or ""
    about_model = said.code == "model_not_found" or (status == 404 and bool(_NO_MODEL.search(text)))
    elsewhere = about_model or said.code in OF_ANOTHER_ACCOUNT
    final = status in (400, 404, 413, 422) and not elsewhere and kind not in (Kind.QUOTA, Kind.AUTHENTICATION)
    advice = ADVICE.get(headers.get("x-should-retry", "").lower())
    if advice:
        final = False
    error = UpstreamStatus(
        status,
        cleaned(said.message) if said.message else None,
        kind=kind,
        code=_code_of(said, kind),
        param=said.param,
        retry_after=wait_of(headers, said),
        final=final,
    )
    error.should_retry = advice
    if elsewhere or status == 429:
        # Another candidate may do better; where there is none, this says more than a bad gateway.
        error.status = status
    return error


def _is_moderated(status: int, value: Json, said: Said) -> bool:
    """A 403 that is about what was said, not about who may ask: xAI's by its words, OpenRouter's by what comes with it. Cohere has a 498."""
    if status != 403:
        return status == 498 and "blocked" in (said.message or "").lower()
    error = value.get("error") if isinstance(value, dict) else None
    about = error.get("metadata") if isinstance(error, dict) else None
    return (isinstance(about, dict) and "flagged_input" in about) or bool(
        _MODERATED.match(said.message or "")
    )


def _moderated(status: int, said: Said) -> UpstreamStatus:
    """Another provider may take it; where none does, the client is told why. Clients take a 403 to be about their key."""
    message = _WHOSE.sub("", said.message or "The input was flagged by the provider's moderation.")
    error = UpstreamStatus(
        status, cleaned(message), kind=Kind.INVALID_REQUEST, code="content_filter", param=None, final=False
    )
    error.status = 400
    return error


def failure_of(value: Json) -> Failure:
    """An error object within a stream. ``value`` is the whole event, or the error in it."""
    said = read(value)
    status = said.status
    kind = kind_of(status, said)
    if status is None:
        known = BY_WORD.get(said.word or "") or BY_WORD.get((said.code or "").lower())
        status = None if known is None else known[1]
    message = cleaned(said.message) if said.message else "The provider reported an error."
    return Failure(message, kind.value, status, _code_of(said, kind), said.wait)


def _code_of(said: Said, kind: Kind) -> str | None:
    if (
        said.code is None
        and kind in (Kind.INVALID_REQUEST, Kind.TOO_LARGE)
        and _TOO_LONG.search(said.message or "")
    ):
        return TOO_LONG
    return said.code


def parsed(body: bytes) -> Json:
    """The JSON of an error body; None where it is none, as the HTML of a load balancer."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def kind_of(status: int | None, said: Said) -> Kind:
    """What went wrong; the words of the body tell more than the status."""
    if said.code in OF_ANOTHER_ACCOUNT:
        return Kind.NOT_FOUND
    if _is_quota(status, said) and said.word != "resource_exhausted":
        # Google says "quota" of its rates per minute too.
        return Kind.QUOTA
    if status in (None, 400, 401, 403) and _BAD_KEY.match(said.message or ""):
        return Kind.AUTHENTICATION
    for word in ((said.word or ""), (said.code or "").lower()):
        if word in BY_WORD and (status is None or status in (400, 500, 502) or BY_WORD[word][1] == status):
            return BY_WORD[word][0]
    if status is None:
        return Kind.UPSTREAM
    return BY_STATUS.get(status, Kind.UPSTREAM if status >= 500 else Kind.INVALID_REQUEST)


def _is_quota(status: int | None, said: Said) -> bool:
    """A message about a request may repeat the client's own words, so that there only its beginning counts."""
    message = said.message or ""
    found = _QUOTA_START.match(message) if status in (400, 404, 413, 422) else _QUOTA.search(message)
    return found is not None or _QUOTA.search(f"{said.code or ''} {said.word or ''}") is not None


def read(value: Json) -> Said:
    """Any of the shapes → what it says."""
    if isinstance(value, list):
        # Gemini without alt=sse; FastAPI lists what is wrong.
        return read(value[0]) if value else Said()
    if isinstance(value, str):
        return Said(value or None)
    if not isinstance(value, dict):
        return Said()
    error = value.get("error")
    if isinstance(error, dict):
        return _inner(error, value)
    if isinstance(error, str):
        return Said(
            error,
            _lower(value.get("type")),
            _text(value.get("code")),
            None,
            _number(value.get("status_code")),
        )
    for name in ("errors", "detail"):
        found = value.get(name)
        if isinstance(found, list) and found:
            return Said("; ".join(_item(item) for item in found), param=_where(found[0]))
        if isinstance(found, str) and found:
            return Said(found, _lower(value.get("type")), status=_number(value.get("status")))
    return _inner(value, {})


def _inner(error: dict[str, Json], outer: dict[str, Json]) -> Said:
    message = error.get("message") or error.get("Message") or error.get("msg") or error.get("detail")
    if isinstance(message, dict):
        # Mistral puts FastAPI's list into the message.
        message = read(message).message
    code = error.get("code")
    status = _number(code) or _number(error.get("status_code")) or _number(error.get("status"))
    word = _lower(error.get("type")) or _lower(error.get("status"))
    raw = error.get("metadata", {}).get("raw") if isinstance(error.get("metadata"), dict) else None
    if isinstance(raw, str) and raw:
        deeper = read(parsed(raw.encode("utf-8", "replace"))).message or raw
        message = f"{message}: {deeper}" if message and deeper != message else deeper
    if word in (None, "error") and isinstance(outer.get("type"), str) and outer["type"] != "error":
        word = _lower(outer["type"])
    # A code that only repeats the status is none.
    name = None if _number(code) is not None else _text(code)
    return Said(_text(message), word, name, _text(error.get("param")), status, _delay(error.get("details")))


def _delay(details: Json) -> float | None:
    """Google's RetryInfo."""
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and str(detail.get("@type", "")).endswith("RetryInfo"):
            found = _DELAY.fullmatch(str(detail.get("retryDelay", "")))
            if found:
                return float(found[1])
    return None


def _item(item: Json) -> str:
    if isinstance(item, dict):
        message = _text(item.get("message") or item.get("msg") or item.get("detail")) or "invalid"
        where = _where(item)
        return f"{where}: {message}" if where else message
    return str(item)


def _where(item: Json) -> str | None:
    place = item.get("loc") if isinstance(item, dict) else None
    return ".".join(str(step) for step in place if step != "body") if isinstance(place, list) else None


def _text(value: Json) -> str | None:
    if isinstance(value, str):
        return value or None
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _lower(value: Json) -> str | None:
    return value.lower() if isinstance(value, str) and value else None


def _number(value: Json) -> int | None:
    """A value that is an HTTP status."""
    if isinstance(value, str) and value.isdigit():
        value = int(value)
    return value if isinstance(value, int) and 400 <= value < 600 else None


def wait_of(headers: Mapping[str, str], said: Said) -> float | None:
    """Seconds to wait: from the headers (milliseconds, seconds or a date), the body's details, or its sentence."""
    try:
        if "retry-after-ms" in headers:
            return max(0.0, float(headers["retry-after-ms"]) / 1000)
        value = headers.get("retry-after", "")
        if value:
            return (
                max(0.0, float(value)) if value[0] in "0123456789.-" else _until(value, headers.get("date"))
            )
    except ValueError:
        pass  # a header that is neither a number nor a date says nothing
    if said.wait is not None:
        return said.wait
    found = _WAIT.search(said.message or "")
    if found is None:
        return None
    seconds = float(found[2]) / 1000 if found[3].lower() == "ms" else float(found[2])
    return seconds + 60 * int(found[1] or 0)


def _until(value: str, date: str | None) -> float | None:
    """A date is measured against the server's own clock."""
    if date is None:
        return None
    return max(0.0, (parsedate_to_datetime(value) - parsedate_to_datetime(date)).total_seconds())
