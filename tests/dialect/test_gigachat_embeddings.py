from __future__ import annotations

from typing import Any

import orjson
import pytest

from apipod_proxy.dialect import ProtocolError
from apipod_proxy.dialect.gigachat_embeddings import from_gigachat, to_gigachat
from apipod_proxy.errors import BadRequest


def asked(**fields: Any) -> Any:
    made = to_gigachat(orjson.dumps({"model": "mine", **fields}), "Embeddings")
    return orjson.loads(made.body), made.base64, made.dropped


def test_texts_are_a_list_and_nothing_else_is_sent() -> None:
    told = {"model": "Embeddings", "input": ["a"]}
    assert asked(input="a") == (told, False, ())
    assert asked(input=["a"], encoding_format="base64", dimensions=9, user="u") == (
        told,
        True,
        ("dimensions", "user"),
    )


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({}, "$.input"),
        ({"input": []}, "$.input"),
        ({"input": [1, 2]}, "$.input[0]"),
        ({"input": ["a", None]}, "$.input[1]"),
        ({"input": "a", "encoding_format": "int8"}, "$.encoding_format"),
    ],
)
def test_what_it_cannot_read_is_refused_with_its_place(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(BadRequest) as caught:
        asked(**fields)
    assert caught.value.path == path


def one(index: int | None, vector: Any, tokens: int | None = None) -> dict[str, Any]:
    made: dict[str, Any] = {"object": "embedding", "index": index, "embedding": vector}
    return made if tokens is None else made | {"usage": {"prompt_tokens": tokens}}


def test_the_usage_of_all_vectors_is_summed() -> None:
    body = orjson.dumps({"object": "list", "data": [one(1, [3, 4.5], 7), one(0, [1.0], 2)]})
    assert orjson.loads(from_gigachat(body, "mine", packed=False)) == {
        "object": "list",
        "model": "mine",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [1.0]},
            {"object": "embedding", "index": 1, "embedding": [3, 4.5]},
        ],
        "usage": {"prompt_tokens": 9, "total_tokens": 9},
    }


def test_vectors_are_packed_where_that_is_asked_for_and_unknown_usage_is_not_told() -> None:
    found = orjson.loads(from_gigachat(orjson.dumps({"data": [one(None, [1.0])]}), "m", packed=True))
    assert found["data"] == [{"object": "embedding", "index": 0, "embedding": "AACAPw=="}]
    assert "usage" not in found


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"data": []}', b'{"data": [1]}', b'{"data": [{"embedding": ["a"]}]}']
)
def test_answers_without_vectors_are_no_answers(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        from_gigachat(body, "m", packed=False)
