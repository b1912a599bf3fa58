"""The simulator of this program (``apipod-proxy simulate``), which speaks every dialect, so that every client is spliced."""

from apipod_proxy.upstream.provider import TRACE_HEADERS, Auth, ProviderType
from apipod_proxy.upstream.providers import anthropic, google_ai_studio, openai

TYPE = ProviderType(
    name="simulator",
    base_url="http://127.0.0.1:9100",
    surfaces={
        **openai.TYPE.surfaces,
        "anthropic": anthropic.TYPE.surfaces["anthropic"],
        "gemini": google_ai_studio.TYPE.surfaces["gemini"],
        "count_tokens": anthropic.TYPE.surfaces["count_tokens"],
        **{
            name: surface
            for name, surface in google_ai_studio.TYPE.surfaces.items()
            if name.startswith("gemini_")
        },
    },
    auth=Auth.NONE,
    headers={"anthropic-version": "2023-06-01"},
    # Scripts of the simulator may also come from the client.
    forward=TRACE_HEADERS | {"anthropic-beta", "anthropic-version", "x-sim"},
    needs_key=False,
)
