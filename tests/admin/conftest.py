from tests.stores import (
    database,
    driver,
    empty_database,
    empty_store,
    migrated_schema,
    open_another,
    sqlite_template,
    store,
)

__all__ = [
    "database",
    "driver",
    "empty_database",
    "empty_store",
    "migrated_schema",
    "open_another",
    "sqlite_template",
    "store",
]
