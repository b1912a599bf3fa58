from __future__ import annotations

import pytest

from apipod_proxy.upstream.providers.xai import is_auth_failure
from tests.upstream.providers.checks import ProviderChecks

DENIED = b"The caller does not have permission to execute the specified operation"


class TestXai(ProviderChecks):
    name = "xai"


@pytest.mark.parametrize(
    ("status", "said", "refused"),
    [
        (400, b"Incorrect API key provided: xa***ad. You can obtain an API key from the console.", True),
        (403, b"API key is currently blocked: xa***ad", True),
        # What a client says must not cost others the account.
        (
            403,
            b"Content violates usage guidelines. Team: t, API key ID: k, Failed check: SAFETY_CHECK",
            False,
        ),
        (400, rb"Invalid role \"error\": \"Incorrect API key\"", False),
        (401, b"Incorrect API key provided", False),
    ],
)
def test_only_words_about_the_key_itself_refuse_it(status: int, said: bytes, refused: bool) -> None:
    body = b'{"code": "%b", "error": "%b"}' % (DENIED, said)
    assert is_auth_failure(status, body) is refused
