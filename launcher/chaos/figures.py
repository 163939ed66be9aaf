"""What came of a trial, in numbers: turns, silences, and how soon each role was made up for. No I/O."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from launcher.chaos.harm import Harm
from launcher.chaos.ledger import Ledger, Outcome, Turn


@dataclass(frozen=True, slots=True)
class Count:
    """Turns by what came of them, and how long users waited, in s."""

    turns: int
    answered: int
    failed: int
    overdue: int
    silences_s: tuple[float, ...]

    @property
    def share(self) -> float:
        """The share of turns that were answered; 1 if there were none."""
        return self.answered / self.turns if self.turns else 1.0

    def silence_s(self, share: float) -> float:
        """Return the silence at *share* (0 to 1) of those heard, by nearest rank; 0 if there is none."""
        return at_share(self.silences_s, share)

    def line(self) -> str:
        """Return it in words."""
        told = f"{self.turns} turns: {self.answered} answered ({self.share:.1%}), {self.failed} failed"
        told += f", {self.overdue} without an end in time" if self.overdue else ""
        return (
            f"{told}; silence before the answer {self.silence_s(0.5):.2f} s (p50), {self.silence_s(0.95):.2f} s (p95), "
            f"{self.silence_s(1.0):.2f} s (worst)"
        )


def at_share(values: Iterable[float], share: float) -> float:
    """Return the value at *share* (0 to 1) by nearest rank, 0 if there is none."""
    ordered = sorted(values)
    return ordered[max(0, round(share * len(ordered) + 0.5) - 1) if share < 1 else -1] if ordered else 0.0


def count(turns: Iterable[Turn]) -> Count:
    """Return the numbers of *turns*. One that is still open counts as overdue."""
    found = list(turns)
    outcomes = [turn.outcome for turn in found]
    return Count(
        turns=len(found),
        answered=outcomes.count(Outcome.ANSWERED),
        failed=outcomes.count(Outcome.FAILED),
        overdue=outcomes.count(Outcome.OVERDUE) + outcomes.count(Outcome.OPEN),
        silences_s=tuple(turn.silence_s for turn in found if turn.silence_s is not None),
    )


def turns_of(ledgers: Sequence[Ledger], since_s: float = 0.0, until_s: float = float("inf")) -> list[Turn]:
    """Return the turns of all *ledgers* that began within those times."""
    return [turn for ledger in ledgers for turn in ledger.turns if since_s <= turn.begun_s < until_s]


def recovery_s(harm: Harm, turns: Iterable[Turn]) -> float:
    """Return how long after a harm the last of the turns that it met was being answered; 0 if it met none.

    It met the turns that had begun and had no sound yet. Of one that was still being spoken, the time counts from its
    last word. Later harms may have met them, too: what is told is too long rather than too short.
    """
    waits_s = [
        turn.first_sound_s - max(harm.at_s, turn.spoken_s)
        for turn in turns
        if turn.first_sound_s is not None
        and turn.spoken_s is not None
        and turn.begun_s <= harm.at_s <= turn.first_sound_s
    ]
    return max(waits_s, default=0.0)


def recoveries(harms: Sequence[Harm], turns: Sequence[Turn]) -> list[str]:
    """Return a line for each role that was harmed."""
    lines = []
    for role in dict.fromkeys(harm.role for harm in harms):
        kills = [harm for harm in harms if harm.role == role and harm.deed.startswith("kill")]
        pauses = [harm for harm in harms if harm.role == role and harm not in kills]
        again_s = [harm.over_s - harm.at_s for harm in kills if harm.over_s is not None]
        answers_s = [recovery_s(harm, turns) for harm in (*kills, *pauses)]
        lines.append(
            f"{role:<4} {len(kills)} killed, {len(pauses)} paused; ready again after {at_share(again_s, 0.5):.1f} s "
            f"(p50), {at_share(again_s, 1):.1f} s (worst); those who waited were answered after "
            f"{at_share(answers_s, 0.5):.1f} s (p50), {at_share(answers_s, 1):.1f} s (worst)"
        )
    return lines
