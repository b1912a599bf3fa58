from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.upstream.providers.rig import Rig, running


@pytest.fixture(scope="session")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with running(tmp_path_factory.mktemp("providers")) as found:
        yield found
