"""Keeps what a model thinks from being spoken: `<think>…</think>` in its text, wherever the stream cuts it."""

from typing import Final

OPENING: Final = ("<think>", "<thinking>")
CLOSING: Final = ("</think>", "</thinking>")


class Spoken:
    """Lets through what is to be spoken. *thinking*: the text begins inside a thought (the prompt opened it).

    Held back is at most the beginning of a tag. White space before the first word, and after a thought, is dropped.
    """

    def __init__(self, *, thinking: bool = False) -> None:
        self._thinking = thinking
        self._held = ""
        self._bare = True  # nothing was spoken since the beginning or the last thought

    def push(self, text: str) -> str:
        """Take the next text; return what of it is sure to be spoken."""
        self._held += text
        spoken = ""
        while True:
            tags = CLOSING if self._thinking else OPENING
            found = [(at, tag) for tag in tags if (at := self._held.find(tag)) >= 0]
            if not found:
                break
            at, tag = min(found)
            spoken += self._let(self._held[:at])
            self._held = self._held[at + len(tag) :]
            self._thinking = not self._thinking
            self._bare = True
        kept = _tag_begun(self._held, tags)
        sure = len(self._held) - kept
        spoken += self._let(self._held[:sure])
        self._held = self._held[sure:]
        return spoken

    def end(self) -> str:
        """Return what was held back: no tag came of it."""
        held, self._held = self._held, ""
        return self._let(held)

    def _let(self, text: str) -> str:
        if self._thinking:
            return ""
        if self._bare:
            text = text.lstrip()
            self._bare = not text
        return text


def _tag_begun(text: str, tags: tuple[str, ...]) -> int:
    """Return how many characters at the end of *text* may be the beginning of one of *tags*."""
    longest = max(map(len, tags)) - 1
    for length in range(min(longest, len(text)), 0, -1):
        if any(tag.startswith(text[-length:]) for tag in tags):
            return length
    return 0
