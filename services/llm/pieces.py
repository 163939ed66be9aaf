"""A whole answer as a stream of words: how engines that know their answer at once look like a language model."""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Final

from services.llm.engine import Call, Done, Piece, Reason, Request, Text, Usage

# A word with the space before it. The bound cuts what has no spaces (a URL, Chinese) into pieces that stream.
WORD: Final = re.compile(r"\s*\S{1,40}")


def words_of(text: str) -> Iterator[str]:
    """Cut *text* into pieces that joined give it again, but for white space at its end."""
    return (match.group() for match in WORD.finditer(text))


async def stream(
    request: Request, pieces: Iterator[Text | Call], delay_s: Callable[[], float]
) -> AsyncGenerator[Piece, None]:
    """Yield *pieces*, each after *delay_s* seconds, up to the tokens allowed, then the end.

    A piece of text is a token; so is a call, all of it: half a call is of no use. The event loop gets its turn before
    each piece, so that a cancel is seen in mid-answer.
    """
    allowed = request.max_output_tokens
    reason = Reason.STOP
    calls: set[str] = set()
    tokens = 0
    for piece in pieces:
        counts = isinstance(piece, Text) or piece.call_id not in calls
        if counts and allowed is not None and tokens >= allowed:
            reason = Reason.MAX_OUTPUT_TOKENS
            break
        tokens += counts
        if isinstance(piece, Call):
            calls.add(piece.call_id)
            reason = Reason.TOOL_CALLS
        await asyncio.sleep(delay_s())
        yield piece
    yield Done(reason, Usage(input_tokens=count_words(request), output_tokens=tokens))


def count_words(request: Request) -> int:
    """Return how many words the model was given: instructions and messages."""
    return len(request.instructions.split()) + sum(len(message.text.split()) for message in request.messages)
