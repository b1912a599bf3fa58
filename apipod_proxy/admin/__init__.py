"""The admin API: keys, the catalog, usage and accounts, for whoever has the admin secret or the key of an admin."""

from apipod_proxy.admin.api import AdminApi
from apipod_proxy.admin.services import AdminServices, MadeKey

__all__ = ["AdminApi", "AdminServices", "MadeKey"]
