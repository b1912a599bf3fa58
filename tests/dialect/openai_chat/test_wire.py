from __future__ import annotations

from apipod_proxy.dialect.openai_chat.messages import LEGACY
from apipod_proxy.dialect.openai_chat.wire import (
    annotation,
    finish_word,
    is_legacy,
    media_delta,
    own,
    signature_detail,
    tool_call,
)
from apipod_proxy.dialect.vocabulary import (
    Annotation,
    Finish,
    Media,
    MediaDelta,
    Opaque,
    SignatureDelta,
    StopReason,
    ToolOpen,
)


def test_fields_of_other_dialects_are_not_written() -> None:
    assert own(None) == own(Opaque("anthropic", {"a": 1})) == {}
    assert own(Opaque("openai_chat", {"a": 1})) == {"a": 1}


def test_a_call_has_the_form_of_its_kind() -> None:
    assert tool_call(ToolOpen("t", "f", 0, signature="s", signed_by="other"), 2, "{}") == {
        "index": 2,
        "id": "t",
        "type": "function",
        "function": {"name": "f", "arguments": "{}"},
    }
    assert is_legacy(ToolOpen("t", "f", 0, extra=LEGACY))
    assert finish_word(Finish(StopReason.TOOL_USE), True) == "function_call"
    assert finish_word(Finish(StopReason.PAUSE), True) == "stop"


def test_what_has_no_form_is_none() -> None:
    assert annotation(Annotation(Opaque("x", {}), 0)) is None
    assert media_delta(MediaDelta(Media("image"), 0)) is None
    assert signature_detail(SignatureDelta("s", "gemini"), "t", 1)["format"] == "google-gemini-v1"
