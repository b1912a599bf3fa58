"""Configurations of other gateways, made up for these tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from apipod_proxy.catalog.document import Document, read_document
from apipod_proxy.catalog.takeover.builder import Taken
from apipod_proxy.catalog.vault import Vault
from apipod_proxy.upstream.providers import PROVIDER_TYPES

TYPES = {name: kind.base_url for name, kind in PROVIDER_TYPES.items()}

AI_PROXY = """\
# models of our team

models:
  # free ones first
  - name: groq/llama-3.3-70b-versatile
    provider: groq
    priority: 1
    requests_per_minute: 30
    requests_per_hour: 500
    requests_per_day: 1000
    url: "https://api.groq.com/openai/v1/chat/completions"
    token: "gsk-one"
    max_request_length: 8000
    model_size: SMALL
    http_client_config:
      timeout_seconds: 45
      idle_conn_timeout_seconds: 20
  - name: google/gemini-2.0-flash
    provider: google
    priority: 2
    requests_per_minute: 15
    url: https://generativelanguage.googleapis.com/v1beta/models/gemini-2.0-flash:generateContent?key=goog-one
    max_request_length: 400000
    model_size: BIG
  - name: github/gpt-4o-mini
    provider: github
    url: https://models.inference.ai.azure.com/chat/completions
    token: ${GITHUB_TOKEN}
    max_request_length: 32000
    model_size: SMALL
  - {name: cf/meta/llama-3-8b, provider: cloudflare, token: cf-one, max_request_length: 9000, model_size: SMALL,
     url: "https://api.cloudflare.com/client/v4/accounts/acc123/ai/v1/chat/completions"}
"""

API_ROUTER = """\
{
\t"vendors": {
\t\t"openai": "https://api.openai.com/v1",
\t\t"gemini": "https://generativelanguage.googleapis.com/v1beta/openai"
\t},
\t"models": [
\t\t{"vendor": "openai", "model": "gpt-4o"},
\t\t{"vendor": "gemini", "model": "gemini-2.5-flash", "config": {"support_image": true, "support_streaming": true}}
\t]
}
"""

CREDENTIALS = """\
[{"platform": "openai", "type": "api-key", "value": "sk-router-one"},
 {"platform": "openai", "type": "api-key", "value": "sk-router-two"},
 {"platform": "gemini", "type": "api-key", "value": "goog-router"}]
"""

Reader = Callable[[Taken], Document]


@pytest.fixture
def read() -> Reader:
    """The catalog as the program reads it, which proves that it is one."""

    def reader(taken: Taken, **environment: str) -> Document:
        vault = Vault(bytes(32), environment or {"AUTH_TOKEN": "token-of-all", "GITHUB_TOKEN": "ghp"}, bytes)
        return read_document(taken.text(), "taken", vault, TYPES)

    return reader
