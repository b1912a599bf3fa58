from __future__ import annotations

import json

from apipod_proxy.simulator.answers.scene import arguments_of, dumps, fragments, pretty


def test_fragments_add_up() -> None:
    text = arguments_of({"city": "Zürich", "n": [1, 2]})
    assert json.loads("".join(fragments(text))) == {"city": "Zürich", "n": [1, 2]}
    assert len(list(fragments(text))) > 2
    assert list(fragments("")) == []


def test_json_is_written_tight_or_with_air() -> None:
    assert dumps({"a": [1]}) == b'{"a":[1]}'
    assert pretty({"a": 1}) == b'{\n  "a": 1\n}\n'
