import pytest

from launcher.chaos.figures import at_share, count, recoveries, recovery_s, turns_of
from launcher.chaos.harm import Harm
from launcher.chaos.ledger import Ledger, Outcome, Turn


def turn(begun_s: float, spoken_s: float, first_sound_s: float | None, outcome: Outcome = Outcome.ANSWERED) -> Turn:
    return Turn(1000, begun_s, spoken_s, first_sound_s=first_sound_s, outcome=outcome)


TURNS = [turn(0.0, 1.0, 2.0), turn(1.0, 2.0, 5.0), turn(2.0, 3.0, None, Outcome.FAILED), turn(5.0, 6.0, 6.5)]


def test_turns_are_counted_by_what_came_of_them() -> None:
    told = count([*TURNS, turn(8.0, 9.0, None, Outcome.OPEN)])
    assert (told.turns, told.answered, told.failed, told.overdue, told.share) == (5, 3, 1, 1, 0.6)
    assert (told.silence_s(0.5), told.silence_s(1.0)) == (1.0, 3.0)
    assert "5 turns: 3 answered (60.0%), 1 failed, 1 without an end in time" in told.line()


def test_nothing_counted_is_nothing_missed() -> None:
    assert (count([]).share, count([]).silence_s(1.0)) == (1.0, 0.0)


@pytest.mark.parametrize(("share", "value"), [(0.0, 1.0), (0.5, 3.0), (0.95, 5.0), (1.0, 5.0)])
def test_percentiles_are_values_that_were_seen(share: float, value: float) -> None:
    assert at_share([5.0, 1.0, 4.0, 2.0, 3.0], share) == value


def test_only_turns_that_began_within_the_times_count() -> None:
    ledger = Ledger("one")
    ledger.turns = TURNS
    assert turns_of([ledger], 1.0, 5.0) == TURNS[1:3]


def test_a_recovery_ends_with_the_last_answer_that_somebody_waited_for() -> None:
    harm = Harm("kill -9", "asr", "asr", at_s=1.5, over_s=3.5)
    assert recovery_s(harm, TURNS) == 3.0  # from the last word of the second, which was not spoken yet
    assert recovery_s(Harm("kill -9", "asr", "asr", at_s=7.0), TURNS) == 0.0
    (line,) = recoveries([harm], TURNS)
    assert line.startswith("asr  1 killed, 0 paused; ready again after 2.0 s (p50), 2.0 s (worst);")
    assert line.endswith("were answered after 3.0 s (p50), 3.0 s (worst)")
