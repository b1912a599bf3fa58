"""Anthropic. https://platform.claude.com/docs/en/api"""

from apipod_proxy.upstream.provider import TRACE_HEADERS, Auth, ProviderType, Surface

TYPE = ProviderType(
    name="anthropic",
    base_url="https://api.anthropic.com",
    surfaces={
        "anthropic": Surface("/v1/messages"),
        "count_tokens": Surface("/v1/messages/count_tokens"),
        "models": Surface("/v1/models"),
    },
    auth=Auth.X_API_KEY,
    headers={"anthropic-version": "2023-06-01"},
    forward=TRACE_HEADERS | {"anthropic-beta", "anthropic-version"},
    signs="anthropic",
    auth_failure=lambda status, body: (
        status == 403 and b"permission_error" not in body and b"authentication_error" in body
    ),
    key_variable="ANTHROPIC_API_KEY",
)
