"""Requests that are no completions: what is read of them, and what is refused."""

from __future__ import annotations

import pytest

from apipod_proxy.dialect.operations import OPERATIONS, read_operation
from apipod_proxy.errors import BadRequest

FORM = "multipart/form-data; boundary=B"


def form(*names: str, stream: str = "") -> bytes:
    values = {"model": "whisper", "file": "sound", "stream": stream}
    parts = [f'--B\r\nContent-Disposition: form-data; name="{n}"\r\n\r\n{values[n]}\r\n' for n in names]
    return ("".join(parts) + "--B--").encode()


@pytest.mark.parametrize(
    ("name", "body", "model", "stream"),
    [
        ("embeddings", b'{"model":"m","input":"a"}', "m", False),
        ("embeddings", b'{ "model": "m", "input": [[1]] }', "m", False),
        ("images", b'{"model":"m","prompt":"a","stream":true}', "m", True),
        ("moderations", b'{"input":["a"]}', "omni-moderation-latest", False),
        ("speech", b'{"model":"m","input":"a","voice":"v"}', "m", True),
        ("gemini_embed", b'{"content":{"parts":[]}}', "url", False),
        ("gemini_batch_embed", b'{"requests":[{}]}', "url", False),
    ],
)
def test_the_top_level_is_read(name: str, body: bytes, model: str, stream: bool) -> None:
    top = read_operation(OPERATIONS[name], body, model="url" if name.startswith("gemini") else "")
    assert (top.model, top.stream, top.max_tokens, top.form) == (model, stream, 0, None)
    assert not any(top.hints())
    assert top.beginning() == b""


@pytest.mark.parametrize(
    ("prompt", "choices"),
    [(b'"a"', 2), (b'["a","b"]', 4), (b"[1,2,3]", 2), (b"[[1],[2],[3]]", 6), (b"[]", 2)],
)
def test_a_text_completion_has_choices_for_each_prompt(prompt: bytes, choices: int) -> None:
    body = (
        b'{"model":"m","prompt":%b,"n":2,"max_tokens":9,"stream":true,"stream_options":{"include_usage":true}}'
        % prompt
    )
    top = read_operation(OPERATIONS["completions"], body)
    assert (top.choices, top.max_tokens, top.include_usage, top.stream) == (choices, 9, True, True)


@pytest.mark.parametrize(("stream", "wanted"), [("true", True), ("false", False), ("", False)])
def test_a_form_is_read(stream: str, wanted: bool) -> None:
    body = form("file", "model", "stream", stream=stream)
    top = read_operation(OPERATIONS["transcriptions"], body, FORM)
    assert (top.model, top.stream, top.form is not None) == ("whisper", wanted, True)


@pytest.mark.parametrize(
    ("name", "body", "path"),
    [
        ("embeddings", b"{", None),
        ("embeddings", b"[]", "$"),
        ("embeddings", b'{"model":"m","input":"\xff"}', None),
        ("embeddings", b'{"model":"m","input":' + b"[" * 5000 + b"]" * 5000 + b"}", None),
        ("embeddings", b'{"input":"a"}', "$.model"),
        ("embeddings", b'{"model":"","input":"a"}', "$.model"),
        ("embeddings", b'{"model":"m","model":"n","input":"a"}', "$.model"),
        ("completions", b'{"model":"m","prompt":{}}', "$.prompt"),
        ("gemini_batch_embed", b'{"requests":[]}', "$.requests"),
        ("translations", form("file"), "$.model"),
        ("translations", form("model"), "$.file"),
    ],
)
def test_what_is_wrong_is_refused_with_its_path(name: str, body: bytes, path: str | None) -> None:
    with pytest.raises(BadRequest) as caught:
        read_operation(OPERATIONS[name], body, FORM)
    assert caught.value.path == path
