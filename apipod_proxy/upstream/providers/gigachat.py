"""GigaChat. https://developers.sber.ru/docs/ru/gigachat/api/overview

The key is the authorization key of the project, or ``client_id:client_secret``; a token of half an hour is bought with it. Options: ``scope``
(GIGACHAT_API_PERS, or GIGACHAT_API_B2B, GIGACHAT_API_CORP), ``ca_file`` (the root certificate of the Russian ministry, which few systems
have), ``auth_url``.
"""

from apipod_proxy.upstream.oauth import OAuth
from apipod_proxy.upstream.provider import TRACE_HEADERS, Auth, ProviderType, Surface

TYPE = ProviderType(
    name="gigachat",
    base_url="https://gigachat.devices.sberbank.ru/api/v1",
    surfaces={
        "gigachat": Surface("/v1/chat/completions"),
        "gigachat_embeddings": Surface("/v1/embeddings"),
        "models": Surface("/v1/models"),
    },
    auth=Auth.NONE,
    oauth=OAuth("https://ngw.devices.sberbank.ru:9443/api/v2/oauth", "GIGACHAT_API_PERS"),
    forward=TRACE_HEADERS,
    quota_shared=True,
    key_variable="GIGACHAT_CREDENTIALS",
)
