"""Requests from protobuf, good and bad."""

import pytest

from bus.errors import InvalidRequestError
from proto.v1 import speech_pb2 as pb
from services.llm.engine import Author, Call, Image, Message, Mode, Tool
from services.llm.wire import request_of


def test_a_whole_request_is_understood() -> None:
    wire = pb.GenerationRequest(
        instructions="be nice",
        messages=[
            pb.Message(author=pb.Message.SYSTEM, parts=[pb.Part(text="now")]),
            pb.Message(author=pb.Message.USER, parts=[pb.Part(text="see"), pb.Part(image_url="http://x/y.png")]),
            pb.Message(
                author=pb.Message.ASSISTANT,
                tool_calls=[pb.ToolCall(call_id="c1", name="look", arguments_json="{}", complete=True)],
            ),
            pb.Message(author=pb.Message.TOOL, parts=[pb.Part(text="seen")], call_id="c1"),
        ],
        tools=[pb.Tool(name="look", description="Look", parameters_json='{"type": "object"}'), pb.Tool(name="go")],
        tool_choice=pb.ToolChoice(mode=pb.ToolChoice.NAMED, name="look"),
        temperature=0.0,
        max_output_tokens=50,
        model="m",
    )
    request = request_of(wire)
    assert request.messages == (
        Message(Author.SYSTEM, ("now",)),
        Message(Author.USER, ("see", Image("http://x/y.png"))),
        Message(Author.ASSISTANT, (), (Call("c1", "look", "{}"),)),
        Message(Author.TOOL, ("seen",), call_id="c1"),
    )
    assert request.tools[0] == Tool("look", "Look", {"type": "object"})
    assert request.tools[1].parameters == {"type": "object", "properties": {}}
    assert (request.instructions, request.model, request.max_output_tokens) == ("be nice", "m", 50)
    assert (request.tool_choice, request.tool_name, request.temperature) == (Mode.NAMED, "look", 0.0)


def test_what_is_not_said_is_left_to_the_engine() -> None:
    request = request_of(pb.GenerationRequest())
    assert (request.temperature, request.max_output_tokens, request.tool_choice) == (None, None, Mode.AUTO)


TOOL = pb.Tool(name="go")


@pytest.mark.parametrize(
    "wire",
    [
        pb.GenerationRequest(tools=[pb.Tool(name="go", parameters_json="{")]),
        pb.GenerationRequest(tools=[pb.Tool(name="go", parameters_json="[1]")]),
        pb.GenerationRequest(tools=[pb.Tool(name="go", parameters_json='{"a":' * 100_000)]),
        pb.GenerationRequest(tools=[pb.Tool(description="no name")]),
        pb.GenerationRequest(tools=[TOOL, TOOL]),
        pb.GenerationRequest(tool_choice=pb.ToolChoice(mode=pb.ToolChoice.REQUIRED)),
        pb.GenerationRequest(tools=[TOOL], tool_choice=pb.ToolChoice(mode=pb.ToolChoice.NAMED, name="stop")),
        pb.GenerationRequest(tool_choice=pb.ToolChoice(mode=99)),  # type: ignore[arg-type]
        pb.GenerationRequest(messages=[pb.Message(parts=[pb.Part(text="whose?")])]),
        pb.GenerationRequest(messages=[pb.Message(author=99)]),  # type: ignore[arg-type]
        pb.GenerationRequest(temperature=-1.0),
        pb.GenerationRequest(temperature=float("nan")),
    ],
)
def test_an_impossible_request_is_refused(wire: pb.GenerationRequest) -> None:
    with pytest.raises(InvalidRequestError):
        request_of(wire)


def test_a_refusal_holds_no_speech_content() -> None:
    wire = pb.GenerationRequest(tools=[pb.Tool(name="canary", parameters_json="canary")])
    with pytest.raises(InvalidRequestError) as refused:
        request_of(wire)
    assert "canary" not in str(refused.value)
