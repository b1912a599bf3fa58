"""References to the environment."""

from __future__ import annotations

import pytest

from apipod_proxy.catalog.references import Malformed, Unset, escape, expand, has_reference, names, sole_name

ENVIRONMENT = {"A": "1", "B_2": "two", "EMPTY": ""}


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("plain $A {B}", "plain $A {B}"),
        ("${A}", "1"),
        ("x${A}-${B_2}y", "x1-twoy"),
        ("${NONE:-fallback}", "fallback"),
        ("${NONE:-}", ""),
        ("${EMPTY:-fallback}", "fallback"),
        ("${A:-fallback}", "1"),
        ("${NONE:-http://h:1/p}", "http://h:1/p"),
        ("$${A}", "${A}"),
        ("$${", "${"),
    ],
)
def test_references_are_replaced_by_what_the_environment_says(text: str, expanded: str) -> None:
    assert expand(text, ENVIRONMENT) == expanded


@pytest.mark.parametrize("text", ["${NONE}", "x${EMPTY}"])
def test_what_is_not_set_is_named(text: str) -> None:
    with pytest.raises(Unset) as caught:
        expand(text, ENVIRONMENT)
    assert (
        str(caught.value)
        == f"${{{caught.value.name}}} is not set in the environment; allowed: setting it, or ${{{caught.value.name}:-default}}"
    )


@pytest.mark.parametrize("text", ["${", "${A", "${1}", "${A B}", "${}"])
def test_what_only_looks_like_a_reference_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        expand(text, ENVIRONMENT)
    assert "'${' opens no reference" in str(Malformed())


def test_names_are_found_and_texts_escaped() -> None:
    assert names("${A} $${B} ${C:-x} ${A}") == ["A", "C"]
    assert [sole_name(text) for text in ("${A}", " ${A:-x} ", "${A}b", "$${", "A")] == [
        "A",
        "A",
        None,
        None,
        None,
    ]
    assert expand(escape("a${B}c$${"), {}) == "a${B}c$${"
    assert has_reference("a${") and not has_reference("a$b")
