"""Protobuf to the engine's plain values and back; a request that no engine could serve is refused here."""

import json
import math
from typing import Any, Final

from bus.errors import InvalidRequestError
from proto.v1 import speech_pb2 as pb
from services.llm.engine import Author, Call, Image, Message, Mode, Reason, Request, Tool, Usage

AUTHORS: Final = {
    pb.Message.SYSTEM: Author.SYSTEM,
    pb.Message.USER: Author.USER,
    pb.Message.ASSISTANT: Author.ASSISTANT,
    pb.Message.TOOL: Author.TOOL,
}
MODES: Final = {
    pb.ToolChoice.MODE_UNSPECIFIED: Mode.AUTO,
    pb.ToolChoice.AUTO: Mode.AUTO,
    pb.ToolChoice.NONE: Mode.NONE,
    pb.ToolChoice.REQUIRED: Mode.REQUIRED,
    pb.ToolChoice.NAMED: Mode.NAMED,
}
REASONS: Final = {
    Reason.STOP: pb.GenerationDone.STOP,
    Reason.MAX_OUTPUT_TOKENS: pb.GenerationDone.MAX_OUTPUT_TOKENS,
    Reason.CONTENT_FILTER: pb.GenerationDone.CONTENT_FILTER,
    Reason.TOOL_CALLS: pb.GenerationDone.TOOL_CALLS,
}


def request_of(wire: pb.GenerationRequest) -> Request:
    """Return the request that *wire* carries.

    Raises:
        InvalidRequestError: it contradicts itself, or a part of it means nothing.
    """
    tools = tuple(_tool(tool, place) for place, tool in enumerate(wire.tools))
    mode = MODES.get(wire.tool_choice.mode)
    names = {tool.name for tool in tools}
    if len(names) < len(tools):
        raise InvalidRequestError("two tools have the same name")
    if mode is None:
        raise InvalidRequestError(f"unknown tool choice {wire.tool_choice.mode}")
    if mode is Mode.REQUIRED and not tools:
        raise InvalidRequestError("a tool call is required but no tool is declared")
    if mode is Mode.NAMED and wire.tool_choice.name not in names:
        raise InvalidRequestError("the tool that must be called is not declared")
    temperature = wire.temperature if wire.HasField("temperature") else None
    if temperature is not None and not (math.isfinite(temperature) and temperature >= 0):
        raise InvalidRequestError(f"temperature must be at least 0, not {temperature:g}")
    return Request(
        instructions=wire.instructions,
        messages=tuple(_message(message, place) for place, message in enumerate(wire.messages)),
        tools=tools,
        tool_choice=mode,
        tool_name=wire.tool_choice.name,
        temperature=temperature,
        max_output_tokens=wire.max_output_tokens or None,
        model=wire.model,
    )


def tool_call(call: Call) -> pb.ToolCall:
    """Return *call* as it travels."""
    return pb.ToolCall(
        call_id=call.call_id,
        name=call.name,
        arguments_json=call.arguments,
        index=call.index,
        complete=call.complete,
    )


def usage_of(usage: Usage) -> pb.Usage:
    """Return *usage* as it travels."""
    return pb.Usage(
        input_tokens=usage.input_tokens, output_tokens=usage.output_tokens, cached_tokens=usage.cached_tokens
    )


def _message(wire: pb.Message, place: int) -> Message:
    author = AUTHORS.get(wire.author)
    if author is None:
        raise InvalidRequestError(f"message {place} has no known author")
    parts: list[str | Image] = []
    for part in wire.parts:
        match part.WhichOneof("content"):
            case "text":
                parts.append(part.text)
            case "image_url":
                parts.append(Image(part.image_url))
            case None:  # a kind of content that this version does not know
                continue
    calls = tuple(
        Call(call.call_id, call.name, call.arguments_json, index) for index, call in enumerate(wire.tool_calls)
    )
    return Message(author, tuple(parts), calls, wire.call_id)


def _tool(wire: pb.Tool, place: int) -> Tool:
    if not wire.name:
        raise InvalidRequestError(f"tool {place} has no name")
    return Tool(wire.name, wire.description, _schema(wire.parameters_json, place))


def _schema(text: str, place: int) -> dict[str, Any]:
    if not text.strip():  # a tool without parameters
        return {"type": "object", "properties": {}}
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidRequestError(f"the parameters of tool {place} are not JSON") from None
    if not isinstance(schema, dict):
        raise InvalidRequestError(f"the parameters of tool {place} are not a JSON object")
    return schema
