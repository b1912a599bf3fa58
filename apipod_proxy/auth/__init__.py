"""Who is calling: the credential among the headers, its digest, and the principal it stands for. Pure."""

from apipod_proxy.auth.credential import credential
from apipod_proxy.auth.principal import KeyIndex, Principal, identify

__all__ = ["KeyIndex", "Principal", "credential", "identify"]
