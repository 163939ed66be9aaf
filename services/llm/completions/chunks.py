"""The chunks of a streamed completion: cut out of the bytes, and no more of each than is used, validated.

Servers differ in what they leave out or send as null; everything that can be missing may be.
"""

from collections.abc import Iterator
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from bus.errors import EngineError
from services.llm.engine import Reason, Usage

# A chunk holds a token or a few; a whole tool call comes in one chunk at worst.
LINE_BYTES: Final = 1024 * 1024
DONE: Final = b"[DONE]"

REASONS: Final = {
    "length": Reason.MAX_OUTPUT_TOKENS,
    "content_filter": Reason.CONTENT_FILTER,
    "tool_calls": Reason.TOOL_CALLS,
    "function_call": Reason.TOOL_CALLS,
}


class _Part(BaseModel):
    # Strict: a number is no text. A message of pydantic's would quote what it is about.
    model_config = ConfigDict(strict=True, hide_input_in_errors=True)


class Function(_Part):
    """What of a call is new."""

    name: str | None = None
    arguments: str | None = None


class CallDelta(_Part):
    """A piece of a tool call."""

    index: int | None = None
    id: str | None = None
    function: Function = Function()


class Delta(_Part):
    """What is new in an answer. Thoughts in fields of their own (`reasoning_content`, `reasoning`) tell only time."""

    content: str | None = None
    refusal: str | None = None
    tool_calls: list[CallDelta] | None = None
    reasoning_content: object = None
    reasoning: object = None

    @property
    def empty(self) -> bool:
        """Whether nothing was generated: the first chunk names only a role."""
        return not (self.content or self.refusal or self.tool_calls or self.reasoning_content or self.reasoning)


class Choice(_Part):
    """One of the answers; there is one."""

    delta: Delta | None = None
    finish_reason: str | None = None


class Cached(_Part):
    """Where tokens of the input came from."""

    cached_tokens: int | None = None


class Counted(_Part):
    """Tokens."""

    prompt_tokens: int | None = Field(None, ge=0, lt=2**31)
    completion_tokens: int | None = Field(None, ge=0, lt=2**31)
    prompt_tokens_details: Cached | None = None

    @property
    def usage(self) -> Usage:
        """The same as the service counts it."""
        details = self.prompt_tokens_details or Cached()
        return Usage(self.prompt_tokens or 0, self.completion_tokens or 0, max(details.cached_tokens or 0, 0))


class Chunk(_Part):
    """One event of the stream."""

    choices: list[Choice] | None = None
    usage: Counted | None = None
    error: object | None = None
    last: bool = False
    """Ours: the stream said that it is over."""


class Events:
    """Cuts the bytes of server-sent events into the data of each. Holds at most one line."""

    def __init__(self) -> None:
        self._line = bytearray()

    def push(self, received: bytes) -> Iterator[bytes]:
        """Take what came; yield the data of each event that is whole. One event is one line, as all servers do it.

        Raises:
            EngineError: a line that has no end.
        """
        self._line += received
        *lines, rest = self._line.split(b"\n")
        self._line = bytearray(rest)
        if len(rest) > LINE_BYTES:
            raise EngineError("the upstream server's answer has a line without end")
        for line in lines:
            field, _, value = bytes(line).strip().partition(b":")
            if field == b"data" and value.strip():
                yield value.strip()
