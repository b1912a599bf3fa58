"""Whatever else speaks Chat Completions: ``base_url`` is required.

Options, which every other type takes too: ``openai_chat_path`` and ``models_path`` for paths that are not the usual ones, as ``/chat/completions``
where a base URL has no version and wants none.
"""

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
