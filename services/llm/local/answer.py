"""One answer, from tokens to pieces: words that are spoken, tool calls, the end."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from services.llm.completions.thinking import Spoken
from services.llm.engine import Call, Done, Piece, Reason, Text, Tool, Usage
from services.llm.local.calls import Calling

# What a decoder writes for bytes that are no character, or not yet.
INCOMPLETE: Final = "\N{REPLACEMENT CHARACTER}"


class Deltas:
    """Turns tokens into text as they come, whole characters only: many tokens are just some bytes of one.

    The text of a token depends on those before it (the space before a word, for one), so the last piece of text is
    decoded again with the next.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._tokens: list[int] = []
        self._shown = 0

    def push(self, tokens: Sequence[int]) -> str:
        """Take the next tokens; return the text that is new."""
        self._tokens += tokens
        text = self._decode(self._tokens)
        if text.endswith(INCOMPLETE):
            return ""
        new = text[len(self._decode(self._tokens[: self._shown])) :]
        del self._tokens[: self._shown]
        self._shown = len(self._tokens)
        return new

    def _decode(self, tokens: list[int]) -> str:
        text: str = self._tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text


class Until:
    """Lets text through until one of *stops* comes. Held back is at most the beginning of one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._held = ""
        self.reached = False

    def push(self, text: str) -> str:
        """Take the next text; return what of it stands before any stop."""
        self._held += text
        found = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            self.reached = True
            sure = min(found)
        else:
            sure = len(self._held) - self._kept()
        passed, self._held = self._held[:sure], "" if found else self._held[sure:]
        return passed

    def end(self) -> str:
        """Return what was held back: no stop came of it."""
        held, self._held = self._held, ""
        return held

    def _kept(self) -> int:
        longest = max(map(len, self._stops), default=1) - 1
        ends = range(min(longest, len(self._held)), 0, -1)
        return next((n for n in ends if any(stop.startswith(self._held[-n:]) for stop in self._stops)), 0)


class Answer:
    """The pieces of one answer. *ends* are tokens that end it; *allowed* is how many it may have."""

    def __init__(
        self,
        tokenizer: Any,
        ends: frozenset[int],
        allowed: int,
        *,
        thinking: bool = False,
        tools: Sequence[Tool] = (),
        stops: Sequence[str] = (),
    ) -> None:
        self._deltas = Deltas(tokenizer)
        self._until = Until(stops)
        self._spoken = Spoken(thinking=thinking)
        self._calling = Calling(tools)
        self._ends = ends
        self._allowed = allowed
        self._ended = False
        self._tokens = 0

    @property
    def over(self) -> bool:
        """Whether nothing more is wanted of the model."""
        return self._ended or self._until.reached

    def push(self, tokens: Sequence[int]) -> Iterator[Text | Call]:
        """Take the next tokens; yield what they add.

        Raises:
            EngineError: a tool call that cannot be read.
        """
        self._tokens += len(tokens)
        self._ended = bool(tokens) and tokens[-1] in self._ends
        text = self._deltas.push(tokens[:-1] if self._ended else tokens)
        yield from self._calling.push(self._spoken.push(self._until.push(text)))

    def end(self, input_tokens: int) -> Iterator[Piece]:
        """Yield what was held back and the end.

        Raises:
            EngineError: a tool call that cannot be read.
        """
        cut = not self.over and self._tokens >= self._allowed
        yield from self._calling.push(self._spoken.push(self._until.end()) + self._spoken.end())
        yield from self._calling.end(cut=cut)
        reason = Reason.TOOL_CALLS if self._calling.calls else Reason.STOP
        usage = Usage(input_tokens=input_tokens, output_tokens=self._tokens)
        yield Done(Reason.MAX_OUTPUT_TOKENS if cut else reason, usage)
