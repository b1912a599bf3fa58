"""Embeddings across the two APIs: requests and answers, both ways."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from apipod_proxy.dialect import ProtocolError
from apipod_proxy.dialect.gemini_embeddings import (
    from_gemini,
    from_openai,
    pack,
    to_gemini,
    to_openai,
    unpack,
    with_model,
)
from apipod_proxy.errors import BadRequest


def body(**members: Any) -> bytes:
    return orjson.dumps(members)


@pytest.mark.parametrize("given", ["a", ["a"]])
def test_a_request_of_openai_becomes_a_batch(given: Any) -> None:
    asked = to_gemini(body(model="x", input=given, dimensions=4, encoding_format="base64", user="u"), "e")
    assert orjson.loads(asked.body) == {
        "requests": [{"model": "models/e", "content": {"parts": [{"text": "a"}]}, "outputDimensionality": 4}]
    }
    assert asked.base64 and asked.dropped == ("user",)


@pytest.mark.parametrize(
    ("members", "path"),
    [
        ({}, "$.input"),
        ({"input": []}, "$.input"),
        ({"input": [1, 2]}, "$.input[0]"),
        ({"input": ["a", [1]]}, "$.input[1]"),
        ({"input": ["a", None]}, "$.input[1]"),
        ({"input": "a", "dimensions": "4"}, "$.dimensions"),
        ({"input": "a", "encoding_format": "hex"}, "$.encoding_format"),
    ],
)
def test_what_gemini_cannot_read_is_refused(members: Any, path: str) -> None:
    with pytest.raises(BadRequest) as caught:
        to_gemini(body(**members), "e")
    assert caught.value.path == path


@pytest.mark.parametrize(("told", "tokens"), [({}, 9), ({"usageMetadata": {"promptTokenCount": 3}}, 3)])
def test_an_answer_of_gemini_becomes_one_of_openai(told: Any, tokens: int) -> None:
    answer = body(embeddings=[{"values": [1, 0.5]}, {"values": [0, 1]}], **told)
    plain = orjson.loads(from_gemini(answer, "x", packed=False, tokens=9))
    assert plain == {
        "object": "list",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [1, 0.5]},
            {"object": "embedding", "index": 1, "embedding": [0, 1]},
        ],
        "model": "x",
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    packed = orjson.loads(from_gemini(answer, "x", packed=True, tokens=9))
    assert unpack(packed["data"][0]["embedding"]) == [1.0, 0.5]


def test_a_batch_of_gemini_becomes_a_request_of_openai() -> None:
    one = {"content": {"parts": [{"text": "a"}, {"text": "b"}]}, "output_dimensionality": 4, "taskType": "X"}
    asked = to_openai(body(requests=[one, {**one, "content": "c"}]), "e", batch=True)
    assert orjson.loads(asked.body) == {
        "model": "e",
        "input": ["ab", "c"],
        "encoding_format": "float",
        "dimensions": 4,
    }
    assert asked.dropped == ("taskType",)
    single = to_openai(body(content={"parts": [{"text": "a"}]}), "e", batch=False)
    assert orjson.loads(single.body)["input"] == ["a"]


@pytest.mark.parametrize(
    ("request_", "path"),
    [
        ({}, "$.content"),
        ({"content": {"parts": []}}, "$.content.parts"),
        ({"content": {"parts": [{"inlineData": {}}]}}, "$.content.parts[0]"),
        ({"content": {"parts": [5]}}, "$.content.parts[0]"),
        ({"content": "a", "outputDimensionality": "x"}, "$.outputDimensionality"),
    ],
)
def test_what_openai_cannot_read_is_refused(request_: Any, path: str) -> None:
    with pytest.raises(BadRequest) as caught:
        to_openai(body(**request_), "e", batch=False)
    assert caught.value.path == path


@pytest.mark.parametrize(
    "requests", [[], [{"content": "a"}, {"content": "b", "outputDimensionality": 3}], [4]]
)
def test_batches_that_are_no_one_request_are_refused(requests: Any) -> None:
    with pytest.raises(BadRequest):
        to_openai(body(requests=requests), "e", batch=True)


def test_an_answer_of_openai_becomes_one_of_gemini() -> None:
    data = [{"index": 1, "embedding": [2.0]}, {"index": 0, "embedding": pack([1.0])}]
    whole = orjson.loads(from_openai(body(data=data, usage={"prompt_tokens": 3}), batch=True))
    assert whole == {
        "embeddings": [{"values": [1.0]}, {"values": [2.0]}],
        "usageMetadata": {"promptTokenCount": 3, "totalTokenCount": 3},
    }
    assert orjson.loads(from_openai(body(data=data), batch=False)) == {"embedding": {"values": [1.0]}}


@pytest.mark.parametrize(
    "answer",
    [b"no", b"[]", b"{}", body(data=[]), body(data=[{"embedding": "?"}]), body(data=[{"embedding": 4}])],
)
def test_what_is_no_answer_of_openai_breaks_the_protocol(answer: bytes) -> None:
    with pytest.raises(ProtocolError):
        from_openai(answer, batch=True)


@pytest.mark.parametrize("answer", [b"no", b"{}", body(embeddings=[1]), body(embeddings=[{"values": ["a"]}])])
def test_what_is_no_answer_of_gemini_breaks_the_protocol(answer: bytes) -> None:
    with pytest.raises(ProtocolError):
        from_gemini(answer, "x", packed=False, tokens=1)


def test_the_name_of_the_model_is_replaced_in_every_place() -> None:
    batch = with_model(body(requests=[{"content": "a"}, {"model": "models/x"}]), "e", batch=True)
    assert [one["model"] for one in orjson.loads(batch)["requests"]] == ["models/e"] * 2
    assert orjson.loads(with_model(body(model="models/x"), "e", batch=False)) == {"model": "models/e"}
    assert orjson.loads(with_model(body(content="a"), "e", batch=False)) == {"content": "a"}
