"""OpenAI's errors, which all of its endpoints share."""

from __future__ import annotations

from apipod_proxy.simulator.answers.scene import Failure, pretty
from apipod_proxy.simulator.ask import JSON

# status: type, code, message
_KINDS: dict[int, tuple[str, str | None, str]] = {
    400: ("invalid_request_error", None, "Invalid request."),
    401: (
        "invalid_request_error",
        "invalid_api_key",
        "Incorrect API key provided: sk-sim****ator. You can find your API key at https://platform.openai.com/account/api-keys.",
    ),
    403: ("invalid_request_error", "model_not_available", "Project does not have access to this model."),
    404: (
        "invalid_request_error",
        "model_not_found",
        "The model does not exist or you do not have access to it.",
    ),
    429: (
        "requests",
        "rate_limit_exceeded",
        "Rate limit reached for requests per min (RPM): Limit 3, Used 3, Requested 1. Please try again in 20s.",
    ),
    500: ("server_error", None, "The server had an error while processing your request. Sorry about that!"),
    503: ("server_error", None, "The engine is currently overloaded, please try again later."),
}
_QUOTA = "You exceeded your current quota, please check your plan and billing details."


def _error(failure: Failure) -> JSON:
    kind, code, message = _KINDS.get(failure.status) or _KINDS[500 if failure.status >= 500 else 400]
    if failure.code == "insufficient_quota":
        kind, message = "insufficient_quota", _QUOTA
    if failure.message and failure.status == 404:
        code = None  # what was not found is another thing than a model
    return {
        "message": failure.message or message,
        "type": kind,
        "param": failure.param,
        "code": failure.code or code,
    }


def error(failure: Failure) -> bytes:
    """The body of an error."""
    return pretty({"error": _error(failure)})


def error_event(failure: Failure) -> JSON:
    """An error within a stream of chunks."""
    return {"error": _error(failure)}


def error_inside(failure: Failure) -> JSON:
    """An error within an event of the Responses API."""
    inside = _error(failure)
    return {
        "type": inside["type"],
        "code": inside["code"],
        "message": inside["message"],
        "param": inside["param"],
    }
