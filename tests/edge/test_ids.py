from __future__ import annotations

import os
import re

from apipod_proxy.edge.ids import IDS_PER_DRAW, RequestIds


def test_an_id_is_req_and_24_url_safe_characters() -> None:
    assert re.fullmatch(r"req_[A-Za-z0-9_-]{24}", RequestIds(os.urandom)())


def test_ids_differ_over_several_draws() -> None:
    new_id = RequestIds(os.urandom, lambda: 1.0)
    made = {new_id() for _ in range(IDS_PER_DRAW * 3 + 1)}
    assert len(made) == IDS_PER_DRAW * 3 + 1


def test_ids_ascend_with_time() -> None:
    times = [0, 0.011, 0.036, 1.296, 1679.6, 1679.62, 1.8e9, 1.8e9 + 0.02, 2.8e9]
    now = iter(times)
    new_id = RequestIds(os.urandom, lambda: next(now))
    made = [new_id() for _ in times]
    assert made == sorted(made)
    assert len({name[:12] for name in made}) == len(times)


def test_ids_of_one_moment_share_their_time_and_a_clock_may_be_set_back() -> None:
    now = iter([5.0, 5.009, 5.011, 4.0])
    new_id = RequestIds(os.urandom, lambda: next(now))
    one, other, later, before = (new_id()[:12] for _ in range(4))
    assert before < one == other < later


def test_ids_of_the_far_future_are_as_long() -> None:
    assert re.fullmatch(r"req_[a-z0-9]{8}[A-Za-z0-9_-]{16}", RequestIds(os.urandom, lambda: 4e9)())


def test_randomness_is_drawn_in_bulk() -> None:
    draws: list[int] = []

    def random_bytes(size: int) -> bytes:
        draws.append(size)
        return os.urandom(size)

    new_id = RequestIds(random_bytes)
    for _ in range(IDS_PER_DRAW):
        new_id()
    assert draws == [12 * IDS_PER_DRAW]
