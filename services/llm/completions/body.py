"""A request as the JSON of `/chat/completions`.

Servers refuse a conversation in which a call has no output right behind it, or an output no call. Spoken ones are
interrupted and trimmed anywhere, so both are mended here: outputs move to their call, a call without one is told that
there is none yet, and an output without its call becomes something the user said.
"""

from typing import Any, Final

from services.llm.engine import Author, Call, Image, Message, Mode, Request, Tool

NO_OUTPUT: Final = "no result yet"
MODES: Final = {Mode.AUTO: "auto", Mode.NONE: "none", Mode.REQUIRED: "required"}


def body_of(request: Request, model: str) -> dict[str, Any]:
    """Return what is asked of *model*; limits and options of the stream are left to the caller."""
    body: dict[str, Any] = {"model": model, "messages": _messages(request), "stream": True}
    if request.temperature is not None:
        body["temperature"] = request.temperature
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
        if request.tool_choice is Mode.NAMED:
            body["tool_choice"] = {"type": "function", "function": {"name": request.tool_name}}
        else:
            body["tool_choice"] = MODES[request.tool_choice]
    return body


def _messages(request: Request) -> list[dict[str, Any]]:
    outputs = {message.call_id: message for message in request.messages if message.author is Author.TOOL}
    called = {call.call_id for message in request.messages for call in message.calls}
    messages: list[dict[str, Any]] = []
    if request.instructions:
        messages.append({"role": "system", "content": request.instructions})
    for message in request.messages:
        if message.author is not Author.TOOL:
            messages.append(_message(message))
            messages += [_output(call, outputs.get(call.call_id)) for call in message.calls]
        elif message.call_id not in called:
            messages.append({"role": "user", "content": message.text})
    return messages


def _message(message: Message) -> dict[str, Any]:
    written: dict[str, Any] = {"role": message.author.value, "content": _content(message)}
    if message.calls:
        written["content"] = message.text or None
        written["tool_calls"] = [_call(call) for call in message.calls]
    return written


def _content(message: Message) -> str | list[dict[str, Any]]:
    # A plain string where it can be one: not every server takes parts.
    if not any(isinstance(part, Image) for part in message.parts):
        return message.text
    return [
        {"type": "image_url", "image_url": {"url": part.url}}
        if isinstance(part, Image)
        else {"type": "text", "text": part}
        for part in message.parts
    ]


def _call(call: Call) -> dict[str, Any]:
    return {
        "id": call.call_id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments or "{}"},
    }


def _output(call: Call, message: Message | None) -> dict[str, Any]:
    text = NO_OUTPUT if message is None else message.text
    return {"role": "tool", "tool_call_id": call.call_id, "content": text}


def _tool(tool: Tool) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
    return {"type": "function", "function": function}
