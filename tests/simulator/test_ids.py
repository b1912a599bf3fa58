from __future__ import annotations

import random
import re

import pytest

from apipod_proxy.simulator.ids import Ids


@pytest.mark.parametrize(
    ("made", "shape"),
    [
        (Ids.chat, r"chatcmpl-\w{29}"),
        (Ids.completion, r"cmpl-\w{29}"),
        (Ids.call, r"call_\w{24}"),
        (Ids.message, r"msg_01\w{22}"),
        (Ids.tool_use, r"toolu_01\w{22}"),
        (Ids.request, r"req_011C\w{20}"),
        (lambda ids: ids.response_item("fc"), r"fc_[0-9a-f]{50}"),
        (Ids.gemini_response, r"[\w-]{23}"),
        (Ids.gemini_call, r"[a-z0-9]{8}"),
        (Ids.obfuscation, r"\w{1,15}"),
    ],
)
def test_ids_look_like_the_real_ones_and_differ(made: object, shape: str) -> None:
    assert callable(made)
    ids = Ids(random.Random(1))
    first, second = made(ids), made(ids)
    assert re.fullmatch(shape, first)
    assert first != second
    assert made(Ids(random.Random(1))) == first
