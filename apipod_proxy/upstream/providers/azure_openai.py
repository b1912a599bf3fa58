"""Azure OpenAI by its v1 API: ``base_url`` is ``https://RESOURCE.openai.azure.com``.

https://learn.microsoft.com/azure/ai-services/openai/reference-preview-latest
"""

from apipod_proxy.upstream.provider import TRACE_HEADERS, Auth, ProviderType, Surface
from apipod_proxy.upstream.providers.openai import instead_of_chat

TYPE = ProviderType(
    name="azure_openai",
    base_url="",
    surfaces={
        "openai_chat": Surface("/openai/v1/chat/completions"),
        "openai_responses": Surface("/openai/v1/responses"),
        "embeddings": Surface("/openai/v1/embeddings"),
        "images": Surface("/openai/v1/images/generations"),
        "completions": Surface("/openai/v1/completions"),
        "models": Surface("/openai/v1/models"),
    },
    auth=Auth.API_KEY,
    forward=TRACE_HEADERS,
    signs="openai_responses",
    instead=instead_of_chat,
    key_variable="AZURE_OPENAI_API_KEY",
)
