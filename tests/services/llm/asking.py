"""Conversations in a line or two, and the whole answer to one."""

from contextlib import aclosing
from dataclasses import dataclass, field

from services.llm.engine import Author, Call, Done, Engine, Message, Request, Text, Tool


def user(text: str) -> Message:
    return Message(Author.USER, (text,))


def assistant(text: str, *calls: Call) -> Message:
    return Message(Author.ASSISTANT, (text,) if text else (), calls)


def output(text: str) -> Message:
    return Message(Author.TOOL, (text,), call_id="call_1")


def talk(*texts: str, tools: tuple[Tool, ...] = ()) -> Request:
    """Return a request after the user and the assistant have said *texts* in turn, the user last."""
    first_is_user = len(texts) % 2
    messages = (user(text) if at % 2 != first_is_user else assistant(text) for at, text in enumerate(texts))
    return Request(messages=tuple(messages), tools=tools)


@dataclass
class Answer:
    """Everything an engine gave."""

    words: list[str] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    done: Done | None = None

    @property
    def text(self) -> str:
        return "".join(self.words)


async def ask(engine: Engine, request: Request) -> Answer:
    """Return the whole answer; fail if anything follows its end."""
    answer = Answer()
    async with aclosing(engine.generate(request)) as pieces:
        async for piece in pieces:
            assert answer.done is None, "nothing follows the end"
            match piece:
                case Text(text):
                    answer.words.append(text)
                case Call():
                    answer.calls.append(piece)
                case Done():
                    answer.done = piece
    assert answer.done is not None
    return answer
