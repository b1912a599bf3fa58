from __future__ import annotations

import pytest

from apipod_proxy.simulator.signature import is_ours, sign


def test_a_signature_fits_its_text_and_its_dialect_only() -> None:
    signature = sign("anthropic", "I think.")
    assert is_ours("anthropic", signature, "I think.")
    assert is_ours("anthropic", signature, None)
    assert is_ours("anthropic", signature, "")
    assert not is_ours("anthropic", signature, "I think")
    assert not is_ours("gemini", signature, "I think.")


def test_the_url_safe_alphabet_is_read_too() -> None:
    signature = next(s for s in (sign("gemini", str(n)) for n in range(100)) if "+" in s and "/" in s)
    assert is_ours("gemini", signature.replace("+", "-").replace("/", "_"), None)


@pytest.mark.parametrize(
    "change",
    [lambda s: s[:-4], lambda s: "A" + s[1:], lambda s: s + "AAAA", lambda s: "no base64!", lambda s: ""],
)
def test_an_altered_signature_is_noticed(change: object) -> None:
    assert callable(change)
    assert not is_ours("anthropic", change(sign("anthropic", "I think.")), None)
