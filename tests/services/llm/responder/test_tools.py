"""Which tool is meant, and what is asked before it is called."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from services.llm.engine import Call, Mode, Request, Tool
from services.llm.responder.tools import Question, decide
from tests.services.llm.asking import assistant, output, talk, user


def tool(name: str, description: str = "", required: tuple[str, ...] = (), /, **properties: Mapping[str, Any]) -> Tool:
    return Tool(name, description, {"type": "object", "properties": properties, "required": list(required)})


STRING = {"type": "string"}
TOOLS = (
    tool("get_weather", "Get the current weather for a city", ("city",), city=STRING),
    tool("set_timer", "Start a timer that rings after some minutes", ("minutes",), minutes={"type": "integer"}),
    tool("control_lights", "Turn the lights on or off", ("on",), on={"type": "boolean"}, room=STRING),
    tool("bookRoom", "Reserve a meeting room", (), people={"type": "integer"}),
)


def arguments(decided: object) -> tuple[str, dict[str, Any]]:
    assert isinstance(decided, Call)
    assert decided.complete
    assert decided.call_id
    return decided.name, json.loads(decided.arguments)


@pytest.mark.parametrize(
    ("said", "name", "filled"),
    [
        ("what is the weather in paris", "get_weather", {"city": "Paris"}),
        ("one is the whether in paris", "get_weather", {"city": "Paris"}),
        ("set a timer for ten minutes", "set_timer", {"minutes": 10}),
        ("set a diner for ten minutes", "set_timer", {"minutes": 10}),
        ("turn on the kitchen lights", "control_lights", {"on": True}),
        ("please turn the light off", "control_lights", {"on": False}),
        ("book a room", "bookRoom", {}),
        ("Book a room for 3 people!", "bookRoom", {"people": 3}),
    ],
)
def test_the_tool_whose_words_were_said_is_called(said: str, name: str, filled: dict[str, Any]) -> None:
    assert arguments(decide(talk(said, tools=TOOLS))) == (name, filled)


@pytest.mark.parametrize(
    "said",
    ["hello", "how old is the brooklyn bridge", "what time is it", "", "the", "what can you do for me", "two people"],
)
def test_other_words_call_no_tool(said: str) -> None:
    assert decide(talk(said, tools=TOOLS)) is None


def test_a_missing_argument_is_asked_for_and_the_answer_completes_the_call() -> None:
    asked = decide(talk("what is the weather", tools=TOOLS))
    assert asked == Question("Which city do you mean?")
    again = talk("what is the weather", "Which city do you mean?", "new york please", tools=TOOLS)
    assert arguments(decide(again)) == ("get_weather", {"city": "New York"})


def test_an_interrupted_question_is_still_understood() -> None:
    again = talk("what is the weather", "Which city do", "in rome", tools=TOOLS)
    assert arguments(decide(again)) == ("get_weather", {"city": "Rome"})


def test_an_answer_that_does_not_fit_is_asked_for_again() -> None:
    question = "What number should I use for the minutes?"
    assert decide(talk("set a timer", question, "i like trains", tools=TOOLS)) == Question(question)


def test_never_mind_ends_the_asking() -> None:
    assert decide(talk("what is the weather", "Which city do you mean?", "never mind", tools=TOOLS)) is None


def test_a_question_of_long_ago_is_not_answered() -> None:
    assert (
        decide(talk("what is the weather", "Which city do you mean?", "stop", "All right.", "rome", tools=TOOLS))
        is None
    )


def test_after_its_output_a_tool_can_be_called_again() -> None:
    call = Call("call_1", "get_weather", '{"city": "Paris"}')
    messages = (
        user("weather in paris"),
        assistant("", call),
        output("sunny"),
        assistant("Sunny."),
        user("weather in rome"),
    )
    assert arguments(decide(Request(messages=messages, tools=TOOLS))) == ("get_weather", {"city": "Rome"})


def test_no_tool_is_called_where_none_may_be() -> None:
    assert decide(replace(talk("weather in paris", tools=TOOLS), tool_choice=Mode.NONE)) is None


def test_a_required_call_takes_the_likeliest_tool_and_is_never_a_question() -> None:
    required = replace(talk("some weather", tools=TOOLS), tool_choice=Mode.REQUIRED)
    assert arguments(decide(required)) == ("get_weather", {"city": "some weather"})
    required = replace(talk("hello", tools=TOOLS), tool_choice=Mode.REQUIRED)
    assert isinstance(decide(required), Call)


def test_the_named_tool_is_called_whatever_was_said() -> None:
    named = replace(talk("weather in paris", tools=TOOLS), tool_choice=Mode.NAMED, tool_name="set_timer")
    assert arguments(decide(named)) == ("set_timer", {"minutes": 0})
