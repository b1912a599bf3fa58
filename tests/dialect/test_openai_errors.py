from __future__ import annotations

import pytest

from apipod_proxy.dialect.openai_errors import TYPES, error_object
from apipod_proxy.errors import BadRequest, InternalError, Kind, LimitExceeded, ProxyError


def test_every_kind_of_error_has_a_type() -> None:
    assert set(TYPES) == set(Kind)


@pytest.mark.parametrize(
    ("error", "kind", "param", "code"),
    [
        (BadRequest("No", "$.messages[0].role"), "invalid_request_error", "messages[0].role", None),
        (LimitExceeded("rpm", "key", 3), "rate_limit_error", None, "rate_limit_exceeded"),
        (LimitExceeded("rpd", "user", 3, budget=True), "insufficient_quota", None, "insufficient_quota"),
        (InternalError(), "server_error", None, None),
    ],
)
def test_an_error_has_all_four_members(
    error: ProxyError, kind: str, param: str | None, code: str | None
) -> None:
    assert error_object(error) == {"message": str(error), "type": kind, "param": param, "code": code}
