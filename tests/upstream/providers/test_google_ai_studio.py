from __future__ import annotations

import pytest

from apipod_proxy.upstream.providers.google_ai_studio import is_auth_failure
from tests.upstream.providers.checks import ProviderChecks


class TestGoogleAiStudio(ProviderChecks):
    name = "google_ai_studio"


@pytest.mark.parametrize(
    ("status", "body", "refused"),
    [
        (400, b'{"error": {"details": [{"reason": "API_KEY_INVALID"}]}}', True),
        (403, b'{"error":{"details":[{"reason":"API_KEY_SERVICE_BLOCKED"}]}}', True),
        (403, b'{"error": {"message": "You do not have permission to access the File API_KEY"}}', False),
        (400, rb'{"error": {"message": "Invalid value \"reason\": \"API_KEY_INVALID\""}}', False),
        (404, b'{"error": {"details": [{"reason": "API_KEY_INVALID"}]}}', False),
    ],
)
def test_only_the_reason_of_an_error_tells_that_the_key_is_refused(
    status: int, body: bytes, refused: bool
) -> None:
    assert is_auth_failure(status, body) is refused
