from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apipod_proxy.dialect.identity import read_request
from apipod_proxy.dialect.signatures import (
    CALL,
    Signed,
    carries_labels,
    unwrap,
    unwrap_base64,
    unwrap_placed,
    wrap,
    wrap_base64,
    wrap_foreign,
)

DIALECTS = st.sampled_from(["anthropic", "gemini", "openai_chat", "openai_responses"])
PLACES = st.sampled_from(["", "call", "text"])


@given(signature=st.text(), signed_by=DIALECTS, place=PLACES)
def test_what_is_wrapped_is_unwrapped_again(signature: str, signed_by: str, place: str) -> None:
    assert unwrap(wrap(signature, signed_by, place)) == (signature, signed_by)
    assert unwrap_placed(wrap(signature, signed_by, place)) == Signed(signature, signed_by, place)


@given(signature=st.text(st.characters(exclude_categories=["Cs"])), signed_by=DIALECTS, place=PLACES)
def test_base64_survives_a_client_that_decodes_and_encodes_it(
    signature: str, signed_by: str, place: str
) -> None:
    text = wrap_base64(signature, signed_by, place)
    expected = Signed(signature, signed_by, place)
    assert unwrap_base64(text) == expected
    again = base64.urlsafe_b64encode(base64.b64decode(text)).decode()
    assert unwrap_base64(again) == expected
    assert unwrap_base64(again.rstrip("=")) == expected


@given(st.binary())
def test_a_genuine_signature_has_no_label(data: bytes) -> None:
    text = base64.b64encode(data).decode()
    assert unwrap(text) == (text, None)


@pytest.mark.parametrize("text", ["", "QG", "QGFi", "QG!!", "QGFudGhyb3BpYw==", "QP8=", "QGH/", "CiQB"])
def test_what_was_not_wrapped_comes_back_as_it_is(text: str) -> None:
    assert unwrap_base64(text) == Signed(text, None)
    assert unwrap_placed(text) == Signed(text, None)


def test_only_foreign_signatures_and_foreign_places_are_labelled() -> None:
    assert wrap_foreign("s", "anthropic", "anthropic") == "s"
    assert wrap_foreign("s", None, "anthropic") == "s"
    assert wrap_foreign("s", "gemini", "anthropic") == "@gemini:s"
    assert wrap_foreign("s", "gemini", "anthropic", CALL) == "@gemini/call:s"
    assert wrap_foreign("s", None, "gemini", CALL) == "@gemini/call:s"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"signature": "@gemini/call:CiQB"}', True),
        (b'{"type":"redacted_thinking","data":"@openai_responses:gAAA"}', True),
        (b'{"encrypted_content":"@anthropic:EqQB"}', True),
        (b'{"thoughtSignature":"%b"}' % wrap_base64("sig", "anthropic").encode(), True),
        (b'{"thought_signature" : "%b"}' % wrap_base64("sig", "openai_chat", "call").encode(), True),
        (b'{"type":"thinking","thinking":"hm","signature":""}', True),
        (b'{"type":"tool_result","tool_use_id" : "functions.f:0"}', True),
        (b'{"type":"tool_result","tool_use_id":"toolu_01-A"}', False),
        (b'{"signature":"EqQBCkYIBRgC"}', False),
        (b'{"encrypted_content":"gAAAAABo"}', False),
        (b'{"thoughtSignature":"CiQBcsjafHZT"}', False),
        (b'{"thoughtSignature":"skip_thought_signature_validator"}', False),
        (b'{"text":"@anthropic: hello"}', False),
        (b'{"text":"QG"}', False),
    ],
)
def test_a_request_that_brings_thinking_of_others_is_known(body: bytes, expected: bool) -> None:
    dialects = ("openai_chat", "anthropic", "gemini", "openai_responses")
    assert any(carries_labels(dialect, body) for dialect in dialects) is expected


@pytest.mark.parametrize("length", [0, 20_000])
def test_chat_brings_signatures_in_two_places(length: int) -> None:
    text = b"x" * length
    details = b'{"reasoning_details":[{"type":"reasoning.encrypted","data":"@anthropic:%bEqQB"}]}' % text
    extra = b'{"text":"%b","google":{"thought_signature" : "@anthropic/call:EqQB"}}' % text
    bare = b'{"reasoning_details":[{"text":"%b","signature":"EqQB"}]}' % text
    for message, expected in ((details, True), (extra, True), (bare, False), (b'{"signature":""}', False)):
        body = b'{"model":"m","messages":[%b]}' % message
        assert carries_labels("openai_chat", read_request("openai_chat", body).brief) is expected


@pytest.mark.parametrize(
    ("dialect", "own"),
    [
        ("openai_chat", '"reasoning_details":[{"signature":"%s"}]'),
        ("openai_chat", '"reasoning_details":[{"data" : "%s"}]'),
        ("openai_chat", '"google":{"thought_signature":"%s"}'),
        ("anthropic", '"signature":"%s"'),
        ("anthropic", '"type":"redacted_thinking","data":"%s"'),
        ("gemini", '"thoughtSignature":"%s"'),
        ("gemini", '"thought_signature": "%s"'),
        ("openai_responses", '"encrypted_content":"%s"'),
        ("openai_responses", '"signature":"%s"'),
    ],
)
def test_one_label_among_many_signatures_is_found(dialect: str, own: str) -> None:
    genuine = ",".join(["{" + own.replace("%s", "EqQBCkYIBRgC") + "}"] * 500)
    assert not carries_labels(dialect, f"[{genuine}]".encode())
    for label in ("@cohere:x", "@gemini/call:x", "QGNvaGVyZTp4"):
        labelled = "{" + own.replace("%s", label) + "}"
        assert carries_labels(dialect, f"[{genuine},{labelled}]".encode())
