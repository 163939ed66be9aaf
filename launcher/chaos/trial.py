"""What the trials share: a crowd of live sessions in mixed protocols, phases with harm and without, a verdict."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from launcher.chaos import canary
from launcher.chaos.figures import Count, count, turns_of
from launcher.chaos.ledger import Ledger, Outcome
from launcher.chaos.live import Live
from launcher.chaos.speakers import Door
from launcher.chaos.stage import POLL_S, Stage

PROTOCOLS: Final = ("websocket", "realtime", "socket")
# What the services need to give back what nobody holds any more: two beats, and the time of a lease.
GIVEN_BACK_S: Final = 15.0
# The first turn, by which the length of an answer is measured, has a calm suite to itself.
FIRST_TURN_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Options:
    """How a trial is made. Times in s."""

    sessions: int = 16
    seconds: float = 120.0
    every_s: float = 5.0
    deadline_s: float = 30.0
    answered: float = 0.95
    seed: int = 1


@dataclass(slots=True)
class Verdict:
    """What must be true, and what was not."""

    show: Callable[[str], None]
    failures: list[str] = field(default_factory=list)

    def must(self, true: object, otherwise: str) -> None:
        """Note what happened if something is not *true*."""
        if not true:
            self.failures.append(otherwise)


class Crowd:
    """Live sessions on a *stage*."""

    def __init__(self, stage: Stage, options: Options, answer_ms: float, tones_for: int = 0) -> None:
        self.door = Door(stage.doors, answer_ms)
        self._options = options
        self._answer_ms = answer_ms
        self._tones_for = tones_for or options.sessions
        self._leaving = asyncio.Event()
        self._talks: list[asyncio.Task[None]] = []
        self.lives: list[Live] = []

    @property
    def ledgers(self) -> list[Ledger]:
        """The accounts of all who are or were here."""
        return [live.ledger for live in self.lives]

    def somebody(self) -> Live:
        """Return one more session, which has still to enter and to `join`."""
        place = len(self.lives)
        live = Live(
            f"session {place + 1}",
            PROTOCOLS[place % len(PROTOCOLS)],
            canary.tones_of(place, self._tones_for),
            random.Random(f"{self._options.seed} {place}"),
            deadline_s=self._options.deadline_s,
            answer_ms=self._answer_ms,
        )
        self.lives.append(live)
        return live

    def join(self, live: Live) -> None:
        """Have somebody who is in talk."""
        self._talks.append(asyncio.create_task(live.talk(self._leaving)))

    async def gather(self, sessions: int) -> None:
        """Let so many come and talk. Raises ConnectionFailedError."""
        for _ in range(sessions):
            live = self.somebody()
            await live.enter(self.door)
            self.join(live)

    async def dismissed(self, patience_s: float) -> list[str]:
        """Expect the suite to hang up on everybody; return whom it did not in time."""
        for live in self.lives:
            live.goodbye_expected = True
        _, left = await asyncio.wait(self._talks, timeout=patience_s)
        return [live.name for live, talk in zip(self.lives, self._talks, strict=True) if talk in left]

    async def leave(self) -> None:
        """Let everybody end their turns and hang up."""
        self._leaving.set()
        await asyncio.gather(*self._talks)
        for ledger in self.ledgers:
            ledger.settle()

    async def answered_once_more(self, since_s: float, patience_s: float) -> list[str]:
        """Wait until everybody was answered in a turn begun after *since_s*; return who was not in time."""
        loop = asyncio.get_running_loop()
        due_s = loop.time() + patience_s
        while True:
            stuck = list(self._unanswered(since_s))
            if not stuck or loop.time() > due_s:
                return stuck
            await asyncio.sleep(POLL_S)

    def _unanswered(self, since_s: float) -> Iterator[str]:
        for live in self.lives:
            if not any(t.outcome is Outcome.ANSWERED and t.begun_s >= since_s for t in live.ledger.turns):
                yield live.name

    def counted(self, since_s: float = 0.0, until_s: float = float("inf")) -> Count:
        """Return the numbers of the turns that began within those times."""
        return count(turns_of(self.ledgers, since_s, until_s))


@asynccontextmanager
async def crowd(stage: Stage, options: Options, verdict: Verdict, tones_for: int = 0) -> AsyncIterator[Crowd]:
    """Yield a crowd that is empty still; in the end everybody leaves, and what must always hold is looked at."""
    here = Crowd(stage, options, await measured_answer(stage, options), tones_for)
    try:
        yield here
    finally:
        await here.leave()
    account(here, verdict)
    await _compare_failures(here, stage, verdict)
    given_back = await stage.until(_empty, GIVEN_BACK_S)
    verdict.must(given_back, f"places are not given back: {await stage.health()}")
    if given_back:
        verdict.show("everybody has left, and every place is given back")


async def _compare_failures(here: Crowd, stage: Stage, verdict: Verdict) -> None:
    """See that the gateway knows of every failure that a client saw: else a turn went astray."""
    counted = await stage.counted()
    known = counted.get("speech_responses_total{failed}", 0.0) + counted.get("speech_turns_failed_total{}", 0.0)
    known -= sum(ledger.transcripts_lost for ledger in here.ledgers)  # those are told twice, and counted twice
    seen = here.counted().failed
    verdict.must(seen <= known, f"{seen} turns failed for clients, but {known:.0f} for the gateway")


def account(here: Crowd, verdict: Verdict) -> None:
    """Look at what always must hold, now that everybody has left."""
    wrong = [what for ledger in here.ledgers for what in ledger.wrong]
    verdict.failures += wrong
    for live in here.lives:
        for number, turn in enumerate(live.ledger.turns, 1):
            if turn.outcome is not Outcome.ANSWERED:
                verdict.show(f"not answered: {live.name}: turn {number}: {turn.why}")
    verdict.show(f"wrong (no end or two, stale sound, another's words): {len(wrong)}")


async def measured_answer(stage: Stage, options: Options) -> float:
    """Return how long a whole answer sounds, in ms."""
    live = Live("first", "websocket", canary.TONES[-1:], random.Random(options.seed), deadline_s=FIRST_TURN_S)
    await live.enter(Door(stage.doors))
    await live.talk(asyncio.Event(), 1)
    (turn,) = live.ledger.turns
    if turn.outcome is not Outcome.ANSWERED or live.ledger.wrong:
        raise RuntimeError(f"a calm suite did not answer: {turn.why} {live.ledger.wrong}")
    return turn.answer_ms


def _empty(health: dict[str, Any]) -> bool:
    return not health["sessions"] and all(not service["leases"] for service in health["services"])
