"""Whatever else speaks Chat Completions: ``base_url`` is required."""

from apipod_proxy.dialect import Quirks
from apipod_proxy.upstream.provider import TRACE_HEADERS, ProviderType, Surface
from apipod_proxy.upstream.providers.openai import OPENAI_SURFACES

QUIRKS = Quirks(max_tokens_field="max_tokens", developer_role=False)

TYPE = ProviderType(
    name="openai_compatible",
    base_url="",
    surfaces={name: surface for name, surface in OPENAI_SURFACES.items() if name != "openai_responses"}
    | {"openai_chat": Surface("/v1/chat/completions", quirks=QUIRKS)},
    forward=TRACE_HEADERS,
    needs_key=False,
)
