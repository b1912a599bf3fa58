from __future__ import annotations

import pytest

from apipod_proxy.dialect import custom_tools
from apipod_proxy.dialect.vocabulary import Tool


@pytest.mark.parametrize(
    ("tool", "expected"),
    [
        (Tool("t", "Does it.", custom=True), "Does it."),
        (Tool("t", "Does it.", custom=True, format={"type": "text"}), "Does it."),
        (
            Tool(
                "t",
                "Does it.",
                custom=True,
                format={"type": "grammar", "syntax": "lark", "definition": "start: X"},
            ),
            "Does it.\n\n`input` must follow this lark grammar:\nstart: X",
        ),
        (
            Tool(
                "t",
                None,
                custom=True,
                format={"type": "grammar", "grammar": {"syntax": "regex", "definition": "a+"}},
            ),
            "`input` must follow this regex grammar:\na+",
        ),
    ],
)
def test_the_description_holds_the_grammar(tool: Tool, expected: str) -> None:
    assert custom_tools.description(tool) == expected


@pytest.mark.parametrize("text", ["", "*** Begin Patch\n+é\n", '{"input": "x"}', '"'])
def test_text_survives_there_and_back(text: str) -> None:
    assert custom_tools.from_arguments(custom_tools.to_arguments(text)) == text


@pytest.mark.parametrize("arguments", ["not json", "[1]", '{"other": 1}', '{"input": 3}'])
def test_what_is_no_such_object_is_the_text_itself(arguments: str) -> None:
    assert custom_tools.from_arguments(arguments) == arguments


def test_the_function_has_one_text_parameter() -> None:
    schema = custom_tools.parameters()
    assert list(schema["properties"]) == schema["required"] == ["input"]
