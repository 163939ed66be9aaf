"""Finds the tool calls in what a model writes, in the formats that the usual templates teach.

- Hermes, Qwen: `<tool_call>{"name": …, "arguments": {…}}</tool_call>`, any number of them, between other words
- Qwen3-Coder, Qwen3.5: `<tool_call><function=NAME><parameter=NAME>value</parameter></function></tool_call>`
- Llama 3, Mistral: the whole answer is `{"name": …, "parameters": {…}}`, or a list of such, behind a special token that
  the tokenizer leaves out
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from uuid import uuid4

from bus.errors import EngineError
from services.llm.engine import Call, Text, Tool

OPENING: Final = "<tool_call>"
CLOSING: Final = "</tool_call>"
MARK: Final = "[TOOL_CALLS]"
FUNCTION: Final = re.compile(r"<function=([^>]+)>(.*?)(?:</function>|$)", re.DOTALL)
PARAMETER: Final = re.compile(r"<parameter=([^>]+)>\n?(.*?)\n?</parameter>", re.DOTALL)
SEPARATORS: Final = " \t\r\n,;"


class Calling:
    """Takes the text of one answer apart into words and calls of *tools*; without tools all of it is words.

    Held back are at most the beginning of a tag, a call, and an answer that begins as JSON does.
    """

    def __init__(self, tools: Sequence[Tool]) -> None:
        self._tools = {tool.name: tool for tool in tools}
        self._held = ""
        self._inside = False
        self._begun = False  # some word was said
        self.calls = 0

    def push(self, text: str) -> Iterator[Text | Call]:
        """Take the next text; yield what is sure.

        Raises:
            EngineError: a call that cannot be read.
        """
        self._held += text
        if not self._tools:
            yield from self._say(len(self._held))
            return
        while (at := self._held.find(CLOSING if self._inside else OPENING)) >= 0:
            if self._inside:
                written, self._held = self._held[:at], self._held[at + len(CLOSING) :]
                yield from self._call(written)
            else:
                yield from self._say(at)
                self._held = self._held[len(OPENING) :]
            self._inside = not self._inside
        if not self._inside and not self._whole:
            yield from self._say(len(self._held) - _begun(self._held))

    def end(self, *, cut: bool) -> Iterator[Text | Call]:
        """Yield what was held back. *cut*: the answer was, and half a call is of no use.

        Raises:
            EngineError: a call that cannot be read.
        """
        if self._inside and not cut:
            yield from self._call(self._held)
        elif self._inside:
            return
        elif self._whole:
            try:
                calls = list(self._read(self._held))
            except ValueError:
                yield from self._say(len(self._held))
            else:
                yield from calls
        else:
            yield from self._say(len(self._held))

    @property
    def _whole(self) -> bool:
        """Whether the answer may be nothing but calls."""
        return not self._begun and not self.calls and self._held.lstrip()[:1] in {"{", "["}

    def _say(self, length: int) -> Iterator[Text]:
        text, self._held = self._held[:length], self._held[length:]
        if self.calls and not self._begun:  # line breaks between calls
            text = text.lstrip()
        if text:
            self._begun = True
            yield Text(text)

    def _call(self, written: str) -> Iterator[Call]:
        try:
            yield from list(self._read(written))
        except ValueError:
            raise EngineError("the model wrote a tool call that cannot be read") from None
        self._begun = False

    def _read(self, written: str) -> Iterator[Call]:
        for name, arguments in list(_calls_in(written, self._tools)):
            yield Call(f"call_{uuid4().hex[:24]}", name, json.dumps(arguments), self.calls)
            self.calls += 1


def _calls_in(written: str, tools: Mapping[str, Tool]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield names and arguments.

    Raises:
        ValueError: it is no call, or one of something else than *tools*.
    """
    written = written.strip().removeprefix(MARK)
    if written.startswith("<function="):
        found = [_tagged(name.strip(), inner, tools) for name, inner in FUNCTION.findall(written)]
    else:
        found = [_named(each) for each in _json(written)]
    if not found or any(name not in tools for name, _ in found):
        raise ValueError("no call of a declared tool")
    yield from found


def _tagged(name: str, inner: str, tools: Mapping[str, Tool]) -> tuple[str, dict[str, Any]]:
    properties = tools[name].parameters.get("properties", {}) if name in tools else {}
    return name, {
        key.strip(): value if _is_text(properties.get(key.strip())) else _value(value)
        for key, value in PARAMETER.findall(inner)
    }


def _is_text(schema: object) -> bool:
    return isinstance(schema, dict) and schema.get("type") == "string"


def _value(written: str) -> Any:
    try:
        return json.loads(written)
    except ValueError:
        return written


def _json(written: str) -> Iterator[Any]:
    """Yield the JSON values in *written*, which holds nothing else; those of a list one by one."""
    decoder = json.JSONDecoder()
    while written := written.lstrip(SEPARATORS):
        value, end = decoder.raw_decode(written)
        written = written[end:]
        yield from value if isinstance(value, list) else [value]


def _named(value: Any) -> tuple[str, dict[str, Any]]:
    if isinstance(value, dict) and isinstance(value.get("function"), dict):
        value = value["function"]
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise ValueError("no name")  # noqa: TRY004 - whoever reads calls expects one kind of error
    arguments = value.get("arguments", value.get("parameters", {}))
    if isinstance(arguments, str):
        arguments = json.loads(arguments or "{}")
    if not isinstance(arguments, dict):
        raise ValueError("arguments are no object")  # noqa: TRY004 - as above
    return value["name"], arguments


def _begun(text: str) -> int:
    """Return how many characters at the end of *text* may be the beginning of a call."""
    return next(
        (length for length in range(len(OPENING) - 1, 0, -1) if text.endswith(OPENING[:length])),
        0,
    )
