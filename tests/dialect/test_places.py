from __future__ import annotations

import pytest

from apipod_proxy.dialect.places import place_of
from apipod_proxy.dialect.vocabulary import Call, Message, Opaque, Role, Text


@pytest.mark.parametrize(
    ("dialect", "expected"),
    [
        ("openai_chat", "$.messages[2].content[1]"),
        ("anthropic", "$.messages[1].content[1]"),
        ("gemini", "$.contents[1].parts[1]"),
        ("openai_responses", "$.input[2].content[1]"),
    ],
)
def test_a_part_is_found_where_the_client_put_it(dialect: str, expected: str) -> None:
    part = Text("x")
    last = Message(Role.USER, [Text("x"), part])
    call = Call(dialect, "m", [Message(Role.SYSTEM, [Text("s")]), Message(Role.USER, [Text("a")]), last])
    assert place_of(call, last, part) == expected


def test_an_opaque_part_knows_its_place() -> None:
    part = Opaque("gemini", {}, "$.contents[4].parts[0].executableCode")
    message = Message(Role.USER, [part])
    assert place_of(Call("gemini", "m", [message]), message, part) == "$.contents[4].parts[0].executableCode"
