"""YAML and its traps."""

from __future__ import annotations

import pytest
import yaml

from apipod_proxy.catalog import yaml_file
from apipod_proxy.catalog.yaml_file import Plain, YamlMistake, parse_yaml


def test_scalars_stay_text_and_remember_whether_they_had_quotes() -> None:
    tree = parse_yaml("""
{a: 1, b: "1", c: yes, d: ~, e: , f: null, g: 2027-01-01, 007: x, true: y, i: !!str 5}
""")
    assert tree == {
        **{"a": "1", "b": "1", "c": "yes", "d": None, "e": None, "f": None, "g": "2027-01-01"},
        **{"007": "x", "true": "y", "i": "5"},
    }
    assert isinstance(tree, dict)
    plain = [name for name, value in tree.items() if isinstance(value, Plain)]
    assert plain == ["a", "c", "g", "007", "true"]


def test_an_empty_file_is_nothing() -> None:
    assert parse_yaml("") is parse_yaml("# only a comment\n") is parse_yaml("---\n") is None


def test_json_is_yaml() -> None:
    assert parse_yaml('{"a": [1, {"b": null}], "c": "d"}') == {"a": ["1", {"b": None}], "c": "d"}


def test_a_reference_needs_no_quotes_between_braces_and_brackets() -> None:
    text = """
a: {name: x, key: ${KEY_A}, n: 1, k: [${B}, ${C:-d e}, $${D}]}
b: "${E} {f}"  # ${G}
'${H}': ${I:-}
c: {${J}: '${K}', l: a${M}b}
"""
    assert parse_yaml(text) == {
        "a": {"name": "x", "key": "${KEY_A}", "n": "1", "k": ["${B}", "${C:-d e}", "$${D}"]},
        "b": "${E} {f}",
        "${H}": "${I:-}",
        "c": {"${J}": "${K}", "l": "a${M}b"},
    }
    assert parse_yaml("a: {b: \ue000, c: '${X}'}") == {"a": {"b": "\ue000", "c": "${X}"}}
    with pytest.raises(YamlMistake, match="line 1"):
        parse_yaml("a: {b: ${not a name}}")


def test_aliases_and_merges_stand_for_what_they_name() -> None:
    tree = parse_yaml("""
base: &base {rpm: 60, tpm: 5}
more: &more {rpd: 7, tpm: 6}
one: *base
two: {<<: *base, rpm: 1}
three: {<<: [*base, *more], x: y}
"<<": literal
""")
    assert isinstance(tree, dict)
    assert tree["one"] == {"rpm": "60", "tpm": "5"}
    assert tree["two"] == {"rpm": "1", "tpm": "5"}
    assert tree["three"] == {"x": "y", "rpm": "60", "tpm": "5", "rpd": "7"}
    assert tree["<<"] == "literal"


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("a: 1\nb: [", 3, "did not find expected node content"),
        ("a: 1\nb: 2\na: 3", 3, "'a' stands here twice"),
        ("a: 1\n---\nb: 2", 2, "a second document begins here"),
        (
            "a: !!python/object/apply:os.system [ls]",
            1,
            "the tag 'tag:yaml.org,2002:python/object/apply:os.system' is not allowed",
        ),
        ("a: !!binary aGk=", 1, "the tag 'tag:yaml.org,2002:binary' is not allowed"),
        ("a:\n  b: *nowhere", 2, "the alias *nowhere stands for nothing"),
        ("a: &a [*a]", 1, "the alias *a stands for nothing that is complete before it"),
        ("? [1]\n: x", 1, "a name must be text"),
        ("? {a: b}\n: x", 1, "a name must be text"),
        ("a: &a x\n? *a\n: y", 2, "a name must be text"),
        ("a: {<<: 5}", 1, "'<<' merges tables"),
        ("[" * 30 + "]" * 30, 1, "nested deeper than 20 levels"),
        ("a: b\n\x00", 2, "this is no YAML: the character U+0000 cannot stand in it"),
        ("é: 日\r\nb: c\r\nd: 'e\x07'", 3, "this is no YAML: the character U+0007 cannot stand in it"),
        ("a: 1\rb: \ud800", 2, "this is no YAML: the character U+D800 cannot stand in it"),
        ("a:\tb\n\t- c", 2, "found a tab character that violates indentation"),
    ],
)
def test_a_mistake_names_its_line(text: str, line: int, problem: str) -> None:
    with pytest.raises(YamlMistake) as caught:
        parse_yaml(text)
    assert problem in caught.value.problem
    assert caught.value.line == line
    assert "\n" not in str(caught.value)


def test_a_bomb_of_aliases_is_refused() -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    with pytest.raises(YamlMistake, match=f"more than {yaml_file.MOST_NODES} values"):
        parse_yaml("\n".join(levels))


def test_both_parsers_of_the_library_read_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a: {b: [1, 'x', \"y\"], <<: &m {c: d}}\ne: *m\n"
    fast = parse_yaml(text)
    monkeypatch.setattr(yaml_file, "LOADER", yaml.SafeLoader)
    assert parse_yaml(text) == fast
