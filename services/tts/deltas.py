"""Puts the pieces of a text into order by their numbers, and notices what is missing."""

from typing import Final

from bus.errors import EngineError

# Deltas that may wait for one before them. More means that it is lost.
WAITING: Final = 256


class DeltaOrder:
    """The text of one response. Pieces that came already are ignored; at most `WAITING` wait for an earlier one."""

    def __init__(self) -> None:
        self._next = 0
        self._waiting: dict[int, str] = {}

    @property
    def has_gap(self) -> bool:
        """Whether a later piece waits for an earlier one."""
        return bool(self._waiting)

    def take(self, seq: int, text: str) -> str:
        """Take piece *seq*; return the text that is now in order after what was returned before.

        Raises:
            EngineError: too many wait for one that does not come.
        """
        if seq >= self._next:
            self._waiting[seq] = text
        ready = []
        while self._next in self._waiting:
            ready.append(self._waiting.pop(self._next))
            self._next += 1
        if len(self._waiting) > WAITING:
            raise self.lost()
        return "".join(ready)

    def finish(self, deltas: int) -> None:
        """Check that all *deltas* have come. They come from one sender in order, so what is missing is lost.

        Raises:
            EngineError: some are missing.
        """
        if self.has_gap or self._next < deltas:
            raise self.lost()

    def lost(self) -> EngineError:
        """Return the error that says so: another replica, sent the whole text, might do it."""
        return EngineError(f"a part of the text is lost (piece {self._next} did not come)")
