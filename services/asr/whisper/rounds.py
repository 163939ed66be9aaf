"""Who is decoded next: finals before partials, in the order in which they were asked, as many as fit one batch."""

from typing import Generic, Protocol, TypeVar


class Kind(Protocol):
    """What can wait for a round."""

    @property
    def kind(self) -> tuple[int, int, bool]:
        """Only those of one kind fit one batch; the last says whether it is a final."""
        ...


T = TypeVar("T", bound=Kind)


class Rounds(Generic[T]):
    """What waits. *batch* finals or *partial_batch* partials make a round, never both: no final waits for a partial.

    Whoever has a next window asks again and is last then, so everybody gets one window before anybody gets two. A turn
    asks for one final and one partial at a time, so the service's capacity is the bound: twice as many wait at most.
    """

    def __init__(self, batch: int, partial_batch: int) -> None:
        self._batch = batch
        self._partial_batch = partial_batch
        # A dict keeps the order, and gives up one in the middle at once.
        self._finals: dict[T, None] = {}
        self._partials: dict[T, None] = {}

    @property
    def finals(self) -> int:
        """How many finals wait."""
        return len(self._finals)

    @property
    def oldest(self) -> T | None:
        """What a round would begin with."""
        return next(iter(self._finals), None) or next(iter(self._partials), None)

    @property
    def full(self) -> bool:
        """Whether to wait for more cannot make the next round larger."""
        return len(self._finals) >= self._batch or (not self._finals and len(self._partials) >= self._partial_batch)

    def __contains__(self, waiting: T) -> bool:
        return waiting in self._finals or waiting in self._partials

    def add(self, waiting: T) -> None:
        """Let *waiting* wait, last."""
        (self._finals if waiting.kind[-1] else self._partials)[waiting] = None

    def drop(self, waiting: T) -> None:
        """Let it wait no longer. Idempotent."""
        self._finals.pop(waiting, None)
        self._partials.pop(waiting, None)

    def take(self) -> list[T]:
        """Return the next round: the oldest, and with it those of its kind in the order of their waiting."""
        queue, bound = (self._finals, self._batch) if self._finals else (self._partials, self._partial_batch)
        oldest = self.oldest
        if oldest is None:
            return []
        taken = [waiting for waiting in queue if waiting.kind == oldest.kind][:bound]
        for waiting in taken:
            del queue[waiting]
        return taken
