"""Writes a conversation as the tokens that the model was trained on, and no more of it than fits.

The tokenizer's chat template says how; a model that has none gets a plain one, as a play is written. Templates that
refuse a conversation (no system message, or roles that do not alternate) get it mended.
"""

import json
import threading
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from bus.errors import InvalidRequestError
from services.llm.completions.body import body_of
from services.llm.engine import Author, Mode, Request

PLAIN: Final = (
    "{{ bos_token or '' }}{% for message in messages %}{{ message.role.capitalize() }}: {{ message.content }}\n"
    "{% endfor %}Assistant:"
)
# Where a model that answers the plain template begins to write what others say.
PLAIN_STOPS: Final = ("\nUser:", "\nSystem:", "\nTool:")


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model continues."""

    tokens: tuple[int, ...]
    thinking: bool
    """Whether it ends inside a thought: the template has opened `<think>`."""


class Writer:
    """Writes with *tokenizer*'s template, at most *context* tokens with the answer; *extra* goes to the template."""

    def __init__(self, tokenizer: Any, context: int, extra: Mapping[str, Any]) -> None:
        self._tokenizer = tokenizer
        self._context = context
        self._extra = dict(extra)
        self._one_at_a_time = threading.Lock()
        template = tokenizer.chat_template or PLAIN
        self._template: str = template if isinstance(template, str) else str(template.get("default", PLAIN))
        with_tools = template.get("tool_use", self._template) if isinstance(template, dict) else self._template
        self._tool_template: str = with_tools
        self.plain = not tokenizer.chat_template
        self.tools = "tools" in with_tools

    def write(self, request: Request, answer_tokens: int) -> Prompt:
        """Return *request* with room for *answer_tokens* behind it, or for half of the context if they are more.

        What does not fit is left out: whole exchanges, the oldest first, never the instructions or anything from the
        user's last message on. Blocks (about a millisecond for each thousand tokens).

        Raises:
            InvalidRequestError: what must stay does not fit, or the template cannot write it.
        """
        room = self._context - min(answer_tokens, self._context // 2)
        users = [at for at, message in enumerate(request.messages) if message.author is Author.USER]
        begins = [0, *(at for at in users if at > 0)]

        def fits(begin: int) -> bool:
            return len(self._written(request, begin)[1]) <= room

        with self._one_at_a_time:
            text, tokens = self._written(request, 0)
            if len(tokens) > room:
                # The fewer messages, the fewer tokens: halving finds the first that fits.
                first = bisect_left(begins, True, lo=1, hi=len(begins), key=fits)
                text, tokens = self._written(request, begins[min(first, len(begins) - 1)])
        if len(tokens) > room:
            raise InvalidRequestError(
                f"the instructions and the last message have {len(tokens)} tokens, {room} fit: see --context_tokens"
            )
        return Prompt(tuple(tokens), text.rstrip().endswith("<think>"))

    def room_behind(self, prompt: Prompt) -> int:
        """Return how many tokens fit the context behind *prompt*."""
        return self._context - len(prompt.tokens)

    def _written(self, request: Request, begin: int) -> tuple[str, list[int]]:
        text = self._text(replace(request, messages=request.messages[begin:]))
        tokens: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        return text, tokens

    def _text(self, request: Request) -> str:
        from jinja2 import TemplateError

        tools = _tools(request) if self.tools else None
        messages = _messages(request)
        try:
            return self._rendered(messages, tools)
        except (TemplateError, TypeError, ValueError):
            pass
        try:
            return self._rendered(_mended(messages), tools)
        except (TemplateError, TypeError, ValueError):
            raise InvalidRequestError("the model's chat template cannot write this conversation") from None

    def _rendered(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> str:
        text: str = self._tokenizer.apply_chat_template(
            messages,
            tools=tools or None,
            chat_template=self._tool_template if tools else self._template,
            add_generation_prompt=True,
            tokenize=False,
            **self._extra,
        )
        return text


def _messages(request: Request) -> list[dict[str, Any]]:
    """Return the messages as templates want them: text alone, and arguments as an object rather than JSON."""
    worded = tuple(replace(message, parts=(message.text,)) for message in request.messages)
    messages: list[dict[str, Any]] = body_of(replace(request, messages=worded, tools=()), "")["messages"]
    for message in messages:
        message["content"] = message["content"] or ""
        for call in message.get("tool_calls", ()):
            call["function"]["arguments"] = _object(call["function"]["arguments"])
    return messages or [{"role": "user", "content": ""}]  # templates refuse to write nothing


def _tools(request: Request) -> list[dict[str, Any]]:
    """Return the tools that the model is told of. One that must be called is the only one."""
    if request.tool_choice is Mode.NONE or not request.tools:
        return []
    if request.tool_choice is Mode.NAMED:
        request = replace(request, tools=tuple(tool for tool in request.tools if tool.name == request.tool_name))
    tools: list[dict[str, Any]] = body_of(request, "")["tools"]
    return tools


def _mended(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the same with instructions as the user's words, and what one says in a row as one; the user begins."""
    mended: list[dict[str, Any]] = []
    if messages[0]["role"] == "assistant":
        mended.append({"role": "user", "content": ""})
    for message in messages:
        role = "assistant" if message["role"] == "assistant" else "user"
        if mended and mended[-1]["role"] == role:
            mended[-1]["content"] += "\n\n" + message["content"]
        else:
            mended.append({"role": role, "content": message["content"]})
    return mended


def _object(arguments: str) -> dict[str, Any]:
    try:
        found = json.loads(arguments)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"value": arguments}
