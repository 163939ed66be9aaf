"""What a model is told of a conversation: its items as messages, within the model's limit.

Calls and their outputs stay together: an output follows its call, wherever it came in; a call that nobody has answered
says so, because models take a missing output for an error.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from gateway.core.realtime.config import ResponseConfig
from gateway.core.realtime.context import Image, ModelMessage, Text, ToolCall
from gateway.core.realtime.conversation import Entry

# Estimates: English text, and a picture of some 500 x 500 pixels.
CHARACTERS_OF_TOKEN: Final = 4
TOKENS_OF_IMAGE: Final = 1000
NO_OUTPUT: Final = "(no output yet)"


class ContextTooLongError(Exception):
    """The conversation does not fit and nothing of it may be left out."""


@dataclass(frozen=True, slots=True)
class Limit:
    """How much a model is told: *most* tokens, and down to how many a longer conversation is cut (None: never)."""

    most: int
    cut_to: int | None


def limit_of(truncation: Any, tokens: int) -> Limit:
    """Return what the session's *truncation* setting means for a model that takes *tokens*."""
    if truncation == "disabled":
        return Limit(tokens, None)
    if isinstance(truncation, dict):
        limits = truncation.get("token_limits") or {}
        most = min(tokens, limits.get("post_instructions", tokens))
        return Limit(most, int(most * truncation.get("retention_ratio", 1.0)))
    return Limit(tokens, tokens)


def prompt_of(entries: Sequence[Entry], config: ResponseConfig, limit: Limit) -> tuple[ModelMessage, ...]:
    """Return *entries* as messages, the oldest left out if they are too many.

    Raises:
        ContextTooLongError: they are too many, and none may be left out.
    """
    groups = _groups(entries)
    fixed = tokens_of(config.instructions) + sum(
        tokens_of(repr(tool.given or tool.parameters)) for tool in config.tools
    )
    costs = [sum(_cost(message) for message in group) for group in groups]
    total = fixed + sum(costs)
    if total > limit.most:
        if limit.cut_to is None:
            raise ContextTooLongError(f"the conversation has about {total} tokens, of {limit.most} allowed")
        while len(groups) > 1 and total > limit.cut_to:
            total -= costs.pop(0)
            groups.pop(0)
    return tuple(message for group in groups for message in group)


def tokens_of(text: str) -> int:
    """Estimate the tokens of *text*."""
    return -(-len(text) // CHARACTERS_OF_TOKEN)


def _cost(message: ModelMessage) -> int:
    images = sum(isinstance(part, Image) for part in message.parts)
    calls = sum(tokens_of(call.name + call.arguments) for call in message.tool_calls)
    return tokens_of(message.text) + calls + images * TOKENS_OF_IMAGE


def _groups(entries: Sequence[Entry]) -> list[list[ModelMessage]]:
    """Return the messages in groups that stay together: a message, or calls with what was said before and outputs."""
    outputs: dict[str, str] = {}
    for entry in entries:
        if entry.item.type == "function_call_output":
            outputs.setdefault(entry.item.call_id, entry.item.output)
    groups: list[list[ModelMessage]] = []
    for entry in entries:
        item = entry.item
        if item.type == "message":
            parts = _parts(entry)
            if parts and item.role:
                groups.append([ModelMessage(item.role, parts)])
        elif item.type == "function_call" and item.status == "completed":
            call = ToolCall(item.call_id, item.name, item.arguments)
            output = ModelMessage("tool", (Text(outputs.get(item.call_id, NO_OUTPUT)),), call_id=item.call_id)
            if groups and groups[-1][0].author == "assistant":
                first = groups[-1][0]
                groups[-1][0] = replace(first, tool_calls=(*first.tool_calls, call))
                groups[-1].append(output)
            else:
                groups.append([ModelMessage("assistant", tool_calls=(call,)), output])
    return groups


def _parts(entry: Entry) -> tuple[Text | Image, ...]:
    parts: list[Text | Image] = []
    for part in entry.item.parts:
        if part.type == "input_image":
            parts.append(Image(part.image_url, part.detail))
            continue
        audio = part.type in ("input_audio", "output_audio")
        text = (entry.heard or part.text) if audio else part.text
        if text and text.strip():
            parts.append(Text(text))
    return tuple(parts)


def says_something(entry: Entry) -> bool:
    """Tell whether a model learns anything from *entry*."""
    return entry.item.type != "message" or bool(_parts(entry))


def unanswered(entries: Sequence[Entry]) -> bool:
    """Tell whether the last that was said is the user's, or the output of a call."""
    for entry in reversed(entries):
        item = entry.item
        if item.role == "system" or not says_something(entry):
            continue
        return item.role == "user" or item.type == "function_call_output"
    return False
