"""What was said: the only memory of a conversation. Services are told it again with every request."""

from collections import deque
from dataclasses import dataclass
from typing import Final, Literal

# Messages kept; the oldest go first. Half an hour of talk; a model's own limit is the llm service's business.
KEPT: Final = 100


@dataclass(frozen=True, slots=True)
class Message:
    """One side's words."""

    author: Literal["user", "assistant"]
    text: str


class Conversation:
    """The messages of one session, oldest first, at most `KEPT`."""

    def __init__(self) -> None:
        self._messages: deque[Message] = deque(maxlen=KEPT)

    @property
    def messages(self) -> tuple[Message, ...]:
        """All that is remembered."""
        return tuple(self._messages)

    def user_said(self, text: str) -> None:
        """Remember a message of the user."""
        self._messages.append(Message("user", text))

    def assistant_said(self, text: str) -> None:
        """Remember what was heard of an answer; nothing, if nothing was."""
        if text.strip():
            self._messages.append(Message("assistant", text))

    def take_back_user(self) -> str:
        """Forget the last message if it is the user's, and return it: it is about to be continued."""
        if self._messages and self._messages[-1].author == "user":
            return self._messages.pop().text
        return ""
