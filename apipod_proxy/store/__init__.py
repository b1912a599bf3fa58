"""Where facts live: one interface over SQLite and PostgreSQL, and one set of statements, the named queries of ``sql/``.

What goes wrong in a database leaves this package as ``StoreError`` or ``StoreUnavailable`` of ``apipod_proxy.errors`` only.
"""

from apipod_proxy.store.base import Listener, Session, Store
from apipod_proxy.store.opening import open_store
from apipod_proxy.store.usage import GROUPINGS, USAGE_COLUMNS, UsageTotal

__all__ = ["GROUPINGS", "USAGE_COLUMNS", "Listener", "Session", "Store", "UsageTotal", "open_store"]
