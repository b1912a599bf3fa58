"""Which paths are operations, and that every one of them has its row in the table."""

from __future__ import annotations

from apipod_proxy.dialect.operations import OPERATIONS
from apipod_proxy.edge.passthrough import GEMINI_VERBS, PATHS
from apipod_proxy.upstream.providers import PROVIDER_TYPES


def test_every_path_and_verb_is_an_operation_that_some_provider_has() -> None:
    assert {*PATHS.values(), *GEMINI_VERBS.values()} == set(OPERATIONS)
    surfaces = {surface for kind in PROVIDER_TYPES.values() for surface in kind.surfaces}
    assert {way for operation in OPERATIONS.values() for way in operation.ways} <= surfaces
