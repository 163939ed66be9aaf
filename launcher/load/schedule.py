"""The whole load, fixed before it begins: who comes when, speaks when, interrupts, hangs up. No I/O.

The load is open: nothing in it waits for an answer, and latencies are counted from the moments that stand here. A
service that falls behind is asked on, as people would (no coordinated omission).

A *seat* is one person; a *visit* is one conversation of theirs. A seat has one visit, but for those that hang up in the
middle of an answer and come back. Milliseconds of a visit count from its begin, in whole chunks.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

# A turn is planned only if so much time is left after it: for the silence that ends it, and an answer to begin.
TAIL_MS: Final = 2_000
# From the end of what was said to the words that interrupt its answer: the silence that ends the turn, and long enough
# for an answer to be under way. Raw sessions join what follows within `reopen_ms` (1000) to the turn before it.
INTERRUPTS_AFTER_MS: Final = 2_000
# From the end of what was said to a client's hanging up in the middle of the answer.
HANGS_UP_AFTER_MS: Final = 1_200
RETURNS_AFTER_MS: Final = 400
# Pauses are drawn from this much around the mean: people do not speak in step.
SPREAD: Final = 0.25


@dataclass(frozen=True, slots=True)
class Habits:
    """How people behave; *barge_ins* and *disconnects* are fractions of the turns.

    *pause_ms*: mean time from the end of what one says to one's next words.
    """

    pause_ms: int = 5_500
    barge_ins: float = 0.0
    disconnects: float = 0.0


@dataclass(frozen=True, slots=True)
class Turn:
    """Words said: phrase number *phrase*, beginning at *at_ms* of the visit, *length_ms* long.

    *interrupts*: they are spoken over the answer to the turn before. *abandoned*: nobody waits for the answer.
    """

    at_ms: int
    length_ms: int
    phrase: int
    interrupts: bool = False
    abandoned: bool = False

    @property
    def end_ms(self) -> int:
        """Where the words end."""
        return self.at_ms + self.length_ms


@dataclass(frozen=True, slots=True)
class Visit:
    """One conversation. *begins_ms* of the run, lasting *length_ms*; *hangs_up*: cut off without a word."""

    seat: int
    number: int
    begins_ms: int
    length_ms: int
    turns: tuple[Turn, ...]
    hangs_up: bool = False


@dataclass(frozen=True, slots=True)
class Schedule:
    """The visits of every seat, in the order in which they begin."""

    seats: int
    length_ms: int
    chunk_ms: int
    visits: tuple[Visit, ...]

    def share(self, place: int, of: int) -> "Schedule":
        """Return what process *place* of *of* does of it."""
        mine = tuple(visit for visit in self.visits if visit.seat % of == place)
        return Schedule(self.seats, self.length_ms, self.chunk_ms, mine)

    @property
    def turns(self) -> int:
        """How many turns are planned whose answers are waited for."""
        return sum(1 for visit in self.visits for turn in visit.turns if not turn.abandoned)


def plan(
    seed: int, seats: int, length_ms: int, phrases_ms: Sequence[int], habits: Habits, *, chunk_ms: int = 20
) -> Schedule:
    """Return the schedule of *seats* people for *length_ms*, who say phrases of the lengths *phrases_ms*.

    The same *seed* gives the same schedule, whatever number of processes carries it out.
    """
    crowd = _Crowd(seed, seats, length_ms, phrases_ms, habits, chunk_ms)
    visits = [visit for seat in range(seats) for visit in _Person(crowd, seat).live()]
    visits.sort(key=lambda visit: (visit.begins_ms, visit.seat))
    return Schedule(seats, length_ms, chunk_ms, tuple(visits))


@dataclass(frozen=True, slots=True)
class _Crowd:
    """What all people share."""

    seed: int
    seats: int
    length_ms: int
    phrases_ms: Sequence[int]
    habits: Habits
    chunk_ms: int


class _Person:
    """Draws what one person does."""

    def __init__(self, crowd: _Crowd, seat: int) -> None:
        self._rng = random.Random(f"{crowd.seed}:{seat}")
        self._seat, self._seats = seat, crowd.seats
        self._phrases_ms = crowd.phrases_ms
        self._habits = crowd.habits
        self._length_ms = crowd.length_ms
        self._chunk_ms = crowd.chunk_ms
        # Everybody begins somewhere in the first pause, evenly: a run shows its load from the start, not in waves.
        room_ms = max(0, crowd.length_ms - TAIL_MS - max(crowd.phrases_ms))
        self._next_ms = (seat + self._rng.random()) / crowd.seats * min(crowd.habits.pause_ms, room_ms)

    def live(self) -> list[Visit]:
        """Return the person's visits."""
        visits: list[Visit] = []
        # Microphones do not tick together.
        begins_ms = self._seat * self._chunk_ms // self._seats
        while begins_ms < self._length_ms:
            visit = self._visit(len(visits), begins_ms)
            visits.append(visit)
            begins_ms = visit.begins_ms + visit.length_ms + RETURNS_AFTER_MS
            self._next_ms = begins_ms + self._pause_ms()
            if not visit.hangs_up:
                break
        return visits

    def _visit(self, number: int, begins_ms: int) -> Visit:
        turns: list[Turn] = []
        interrupts = False
        while True:
            phrase = self._rng.randrange(len(self._phrases_ms))
            length_ms = self._phrases_ms[phrase]
            at_ms = self._whole(max(0.0, self._next_ms - begins_ms))
            end_ms = begins_ms + at_ms + length_ms
            if end_ms + TAIL_MS > self._length_ms:
                break
            hangs_up = self._rng.random() < self._habits.disconnects
            turns.append(Turn(at_ms, length_ms, phrase, interrupts=interrupts, abandoned=hangs_up))
            if hangs_up:
                ends_ms = self._whole(end_ms + HANGS_UP_AFTER_MS - begins_ms)
                return Visit(self._seat, number, begins_ms, ends_ms, tuple(turns), hangs_up=True)
            # One does not interrupt the answer to one's interruption.
            interrupts = not interrupts and self._rng.random() < self._habits.barge_ins
            self._next_ms = end_ms + (INTERRUPTS_AFTER_MS if interrupts else self._pause_ms())
        return Visit(self._seat, number, begins_ms, self._length_ms - begins_ms, tuple(turns))

    def _pause_ms(self) -> float:
        return self._habits.pause_ms * self._rng.uniform(1 - SPREAD, 1 + SPREAD)

    def _whole(self, ms: float) -> int:
        return -(-round(ms) // self._chunk_ms) * self._chunk_ms
