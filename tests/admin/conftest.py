from tests.stores import database, empty_store, open_another, store

__all__ = ["database", "empty_store", "open_another", "store"]
