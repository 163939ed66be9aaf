"""Tool calls in what a model writes, wherever the stream cuts it."""

import json

import pytest

from bus.errors import EngineError
from services.llm.engine import Call, Text, Tool
from services.llm.local.calls import Calling

TOOLS = (
    Tool("weather", parameters={"type": "object", "properties": {"city": {"type": "string"}}}),
    Tool("timer", parameters={"type": "object", "properties": {"minutes": {"type": "integer"}}}),
)
HERMES = '<tool_call>\n{"name": "weather", "arguments": {"city": "Ko\u0308ln"}}\n</tool_call>'
TWO = HERMES + '\n<tool_call>\n{"name": "timer", "arguments": {"minutes": 5}}\n</tool_call>'
TAGGED = (
    "<tool_call>\n<function=weather>\n<parameter=city>\n2024\n</parameter>\n</function>\n</tool_call>"
    "<tool_call><function=timer><parameter=minutes>5</parameter></function></tool_call>"
)


def taken(written: str, *, step: int = 10_000, tools: tuple[Tool, ...] = TOOLS) -> tuple[str, list[tuple[str, object]]]:
    """Return the words and the calls of *written*, given *step* characters at a time."""
    calling = Calling(tools)
    pieces: list[Text | Call] = []
    for begin in range(0, len(written), step):
        pieces += calling.push(written[begin : begin + step])
    pieces += calling.end(cut=False)
    calls = [piece for piece in pieces if isinstance(piece, Call)]
    assert [call.index for call in calls] == list(range(len(calls)))
    assert len({call.call_id for call in calls}) == len(calls)
    text = "".join(piece.text for piece in pieces if isinstance(piece, Text))
    return text, [(call.name, json.loads(call.arguments)) for call in calls]


@pytest.mark.parametrize("step", [1, 3, 10_000])
@pytest.mark.parametrize(
    ("written", "text", "calls"),
    [
        ("Hello <b>there</b> {}.", "Hello <b>there</b> {}.", []),
        (HERMES, "", [("weather", {"city": "Ko\u0308ln"})]),
        ("Let me see. " + HERMES, "Let me see. ", [("weather", {"city": "Ko\u0308ln"})]),
        (TWO, "", [("weather", {"city": "Ko\u0308ln"}), ("timer", {"minutes": 5})]),
        (TAGGED, "", [("weather", {"city": "2024"}), ("timer", {"minutes": 5})]),
        ('{"name": "timer", "parameters": {"minutes": 5}}', "", [("timer", {"minutes": 5})]),
        ('[TOOL_CALLS] [{"name": "timer", "arguments": {"minutes": 5}}]', "", [("timer", {"minutes": 5})]),
        ('{"name": "timer", "parameters": {}}; {"name": "timer", "parameters": {}}', "", [("timer", {})] * 2),
        ('{"name": "timer", "arguments": "{\\"minutes\\": 5}"}', "", [("timer", {"minutes": 5})]),
        ('{"function": {"name": "timer"}, "type": "function"}', "", [("timer", {})]),
        ('{"name": "Ada", "age": 36}', '{"name": "Ada", "age": 36}', []),
        ("[1, 2] are numbers", "[1, 2] are numbers", []),
        (HERMES.removesuffix("</tool_call>"), "", [("weather", {"city": "Ko\u0308ln"})]),
        ("less <tool", "less <tool", []),
    ],
)
def test_words_and_calls_are_told_apart(written: str, text: str, calls: list[tuple[str, object]], step: int) -> None:
    assert taken(written, step=step) == (text, calls)


def test_without_tools_everything_is_words() -> None:
    assert taken(TWO, tools=()) == (TWO, [])


@pytest.mark.parametrize(
    "written",
    [
        "<tool_call>nonsense</tool_call>",
        "<tool_call></tool_call>",
        '<tool_call>{"name": "unknown", "arguments": {}}</tool_call>',
        '<tool_call>{"name": "timer", "arguments": []}</tool_call>',
        "<tool_call><function=unknown></function></tool_call>",
        "Well. <tool_call>{",
    ],
)
def test_a_call_that_cannot_be_read_is_an_error(written: str) -> None:
    with pytest.raises(EngineError, match="tool call"):
        taken(written)


def test_a_call_that_the_limit_has_cut_is_left_out() -> None:
    calling = Calling(TOOLS)
    assert [*calling.push('Well. <tool_call>{"name": "ti'), *calling.end(cut=True)] == [Text("Well. ")]
