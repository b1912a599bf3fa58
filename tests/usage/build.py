"""A usage row in a few words."""

from __future__ import annotations

from apipod_proxy.dialect.vocabulary import Usage
from apipod_proxy.usage.record import Attempt, UsageRow, attempts_json

ATTEMPTS = (
    Attempt("sonnet", "a", "status 529", 529, None, 120),
    Attempt("flash", "b", "ok", 200, Usage(input=10, output=20), 800),
)


def row(request_id: str = "req_1", attempts: tuple[Attempt, ...] = ATTEMPTS) -> UsageRow:
    return UsageRow(
        request_id=request_id,
        client_request_id="",
        started_at=1_700_000_000_000,
        user_id="alice",
        api_key_id="key",
        subscription_id="pro",
        path="/v1/chat/completions",
        dialect="openai_chat",
        requested_model="cursor-pro-sonnet",
        routed_model="flash",
        provider="pool",
        account="b",
        status=200,
        outcome="ok",
        streamed=1,
        input_tokens=10,
        cache_read_tokens=0,
        cache_write_tokens=0,
        output_tokens=20,
        reasoning_tokens=0,
        estimated=0,
        ttft_ms=310,
        duration_ms=950,
        attempts=attempts_json(attempts),
    )
