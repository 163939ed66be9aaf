"""What makes a number of sessions good enough, and the search for the most that are. No I/O."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from launcher.load.clock import LAG
from launcher.load.report import Step

# A generator that is later than this (p99) cannot tell how late the service was.
MAX_LAG_MS: Final = 20.0
# p95 of the latency, in ms. The gateway's is what the design asks for; with real engines a second is what people
# take for prompt; recognisers and models alone are given half of it each.
P95_MS: Final = {"vad": 100.0, "asr": 500.0, "llm": 500.0, "tts": 250.0, "gateway": 100.0, "e2e": 1000.0}
STUTTERS: Final = 0.001
# A search without a ramp begins here, doubles until it fails, then halves the distance so often.
FIRST_SESSIONS: Final = 8
MOST_SESSIONS: Final = 4096
HALVINGS: Final = 3


@dataclass(frozen=True, slots=True)
class Objective:
    """At most *p95_ms* (latency), at most *stutters* (fraction of pieces), nothing lost, nothing broken."""

    p95_ms: float
    stutters: float = STUTTERS

    def missed(self, step: Step) -> list[str]:
        """Return what *step* missed, in words; [] if it met the objective."""
        found = []
        latency = step.times.get("latency")
        if latency is None:
            found.append("nothing was answered")
        elif latency.p95 > self.p95_ms:
            found.append(f"p95 {latency.p95:.0f} ms > {self.p95_ms:g} ms")
        if step.lost:
            found.append(f"{step.lost} turns lost")
        if step.counts.get("turns_refused"):
            found.append(f"{step.counts['turns_refused']} turns refused")
        if step.stutters > self.stutters:
            found.append(f"{step.stutters:.2%} of the pieces late")
        if step.broken:
            found.append(f"{sum(step.broken.values())} promises broken")
        return found

    def __str__(self) -> str:
        return f"p95 <= {self.p95_ms:g} ms, nothing lost or refused, at most {self.stutters:.1%} of the pieces late"


def void(step: Step) -> str:
    """Return why *step* counts for nothing, "" if it counts."""
    lag = step.times.get(LAG)
    if lag is not None and lag.p99 > MAX_LAG_MS:
        return (
            f"the generator itself was {lag.p99:.0f} ms late (p99, at most {MAX_LAG_MS:g} ms); "
            "give it more processes (--processes), or a machine of its own"
        )
    return ""


@dataclass(frozen=True, slots=True)
class Knee:
    """The most sessions that met the objective; *why* no more did. 0: not even the first number."""

    sessions: int
    why: str


async def search(ramp: Sequence[int], measure: Callable[[int], Awaitable[Step]], objective: Objective) -> Knee:
    """Measure with growing numbers of sessions until one misses the objective; return the knee.

    *ramp*: the numbers to try; empty: double from `FIRST_SESSIONS` until one fails, then close in.
    """

    async def why_not(sessions: int) -> str:
        step = await measure(sessions)
        return void(step) or "; ".join(objective.missed(step))

    if ramp:
        return await _climb(ramp, why_not)
    doubled = [FIRST_SESSIONS << power for power in range(20) if FIRST_SESSIONS << power <= MOST_SESSIONS]
    found = await _climb(doubled, why_not)
    if found.sessions == 0 or found.sessions == doubled[-1]:
        return found
    good, bad, why = found.sessions, found.sessions * 2, found.why
    for _ in range(HALVINGS):
        middle = (good + bad) // 2
        if middle in (good, bad):
            break
        wrong = await why_not(middle)
        if wrong:
            bad, why = middle, f"{middle}: {wrong}"
        else:
            good = middle
    return Knee(good, why)


async def _climb(ramp: Sequence[int], why_not: Callable[[int], Awaitable[str]]) -> Knee:
    good = 0
    for sessions in ramp:
        wrong = await why_not(sessions)
        if wrong:
            return Knee(good, f"{sessions}: {wrong}")
        good = sessions
    return Knee(good, "the ramp ends there: there may be room for more")
