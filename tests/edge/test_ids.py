from __future__ import annotations

import os
import re

from apipod_proxy.edge.ids import IDS_PER_DRAW, RequestIds


def test_an_id_is_req_and_24_url_safe_characters() -> None:
    assert re.fullmatch(r"req_[A-Za-z0-9_-]{24}", RequestIds(os.urandom)())


def test_ids_differ_over_several_draws() -> None:
    new_id = RequestIds(os.urandom)
    made = {new_id() for _ in range(IDS_PER_DRAW * 3 + 1)}
    assert len(made) == IDS_PER_DRAW * 3 + 1


def test_randomness_is_drawn_in_bulk() -> None:
    draws: list[int] = []

    def random_bytes(size: int) -> bytes:
        draws.append(size)
        return os.urandom(size)

    new_id = RequestIds(random_bytes)
    for _ in range(IDS_PER_DRAW):
        new_id()
    assert draws == [18 * IDS_PER_DRAW]
