"""Forms: every field is found where it stands, and only what is replaced changes."""

from __future__ import annotations

import pytest

from apipod_proxy.dialect.multipart import Form, read_form, replaced
from apipod_proxy.errors import BadRequest

TYPE = "multipart/form-data; boundary=x--Y"
FILE = b"\r\n--x--\r\n--x--Z\x00\xff"


def body_of(*parts: bytes, preamble: bytes = b"", last: bytes = b"--x--Y--\r\n") -> bytes:
    return preamble + b"".join(b"--x--Y\r\n%b\r\n" % part for part in parts) + last


def field(name: bytes, value: bytes, more: bytes = b"") -> bytes:
    return b"Content-Disposition: form-data; " + name + b"\r\n" + more + b"\r\n" + value


BODY = body_of(
    field(b'filename="model"; name="file"', FILE, b"Content-Type: audio/wav\r\n"),
    field(b'name="model"', b"whisper"),
    field(b"name=stream", b"true"),
    field(b'name="empty"', b""),
)


def test_fields_are_found_and_one_is_replaced() -> None:
    form = read_form(TYPE, BODY)
    assert [one.name for one in form.fields] == ["file", "model", "stream", "empty"]
    assert (form.text(BODY, "model"), form.text(BODY, "stream"), form.text(BODY, "empty")) == (
        "whisper",
        "true",
        "",
    )
    assert form.text(BODY, "nothing") is None
    assert form.has("file") and not form.has("nothing")
    assert BODY[form.fields[0].start : form.fields[0].end] == FILE
    assert form.text_bytes() == len("whispertrue")
    assert replaced(BODY, form, {"model": "other"}) == BODY.replace(b"whisper", b"other")
    assert replaced(BODY, form, {}) == BODY


def test_what_stands_before_the_first_boundary_is_kept() -> None:
    body = body_of(field(b'name="model"', b"a"), preamble=b"hello\r\n")
    form = read_form(TYPE, body)
    assert replaced(body, form, {"model": "b"}).startswith(b"hello\r\n--x--Y")


def test_a_part_without_headers_but_its_name_is_required() -> None:
    with pytest.raises(BadRequest):
        read_form(TYPE, body_of(b"\r\nvalue"))


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", BODY),
        ("multipart/mixed; boundary=x--Y", BODY),
        ("multipart/form-data; boundary=x--Y; q=\x7f", BODY),
        (TYPE, b""),
        (TYPE, b"--x--Y"),
        (TYPE, b"--x--Yz\r\n\r\n--x--Y--"),
        (TYPE, BODY[:-8]),
        (TYPE, body_of(b"Content-Type: text/plain\r\n\r\na")),
        (TYPE, body_of(b"Content-Disposition: form-data; filename=a\r\n\r\na")),
        (TYPE, body_of(b'Content-Disposition: form-data; name="a"')),
        (TYPE, body_of(*[field(b"name=a", b"b")] * 1001)),
    ],
)
def test_what_is_no_form_is_refused(content_type: str, body: bytes) -> None:
    with pytest.raises(BadRequest):
        read_form(content_type, body)


@pytest.mark.parametrize(
    "parts", [(b"one", b"two"), (b"\xff",), (b"long" * 20000,)], ids=["twice", "no text", "long"]
)
def test_a_field_that_is_no_one_text_is_refused(parts: tuple[bytes, ...]) -> None:
    body = body_of(*(field(b'name="model"', part) for part in parts))
    form: Form = read_form(TYPE, body)
    with pytest.raises(BadRequest) as caught:
        form.text(body, "model")
    assert caught.value.path == "$.model"
