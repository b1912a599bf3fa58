from __future__ import annotations

import json

import pytest

from apipod_proxy.simulator.answers.openai_errors import error, error_event, error_inside
from apipod_proxy.simulator.answers.scene import Failure


@pytest.mark.parametrize(
    ("failure", "kind", "code"),
    [
        (Failure(400, "m", param="p", code="c"), "invalid_request_error", "c"),
        (Failure(401), "invalid_request_error", "invalid_api_key"),
        (Failure(404), "invalid_request_error", "model_not_found"),
        (Failure(404, "m"), "invalid_request_error", None),
        (Failure(429), "requests", "rate_limit_exceeded"),
        (Failure(429, code="insufficient_quota"), "insufficient_quota", "insufficient_quota"),
        (Failure(502), "server_error", None),
        (Failure(422), "invalid_request_error", None),
    ],
)
def test_every_status_has_its_type_and_code(failure: Failure, kind: str, code: str | None) -> None:
    held = json.loads(error(failure))["error"]
    assert (held["type"], held["code"], held["param"]) == (kind, code, failure.param)
    assert held["message"]
    assert error_event(failure)["error"] == held
    assert error_inside(failure) == held
