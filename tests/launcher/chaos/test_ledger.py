import pytest

from launcher.chaos.canary import tone
from launcher.chaos.ledger import Complaint, Ended, Item, Ledger, Lost, Outcome, Sound, Started, Stopped, Words

ANSWER_MS = 200.0


def answer(hertz: int = 1000, seconds: float = 0.2, rate: int = 16_000) -> Sound:
    return Sound(tone(hertz, seconds, rate), rate)


def told(*items: Item, answer_ms: float | None = ANSWER_MS) -> Ledger:
    """Return the account of a session that was told *items* in its first turn, of 1000 Hz, that ended at 10 s."""
    ledger = Ledger("one", answer_ms)
    ledger.begin(1000, 9.0)
    ledger.spoken(10.0, 1000.0)
    for place, item in enumerate(items):
        ledger.heard(item, 10.5 + place)
    ledger.settle()
    return ledger


WHOLE: tuple[Item, ...] = (Started(), Stopped(1200.0), Words("tone 1000"), answer(), Ended("completed"))


@pytest.mark.parametrize("rate", [16_000, 24_000])
def test_a_whole_answer_is_right(rate: int) -> None:
    ledger = told(Started(), Stopped(1200.0), Words("tone 1000"), answer(rate=rate), Ended("completed"))
    (turn,) = ledger.turns
    assert (turn.outcome, turn.silence_s) == (Outcome.ANSWERED, 3.5)
    assert turn.answer_ms == pytest.approx(ANSWER_MS, abs=0.1)
    assert ledger.wrong == []


def test_the_silence_that_fills_a_block_is_no_part_of_the_answer() -> None:
    assert told(answer(), Sound(bytes(1600), 16_000), Ended("completed")).wrong == []


@pytest.mark.parametrize(
    ("items", "wrong"),
    [
        ((answer(1050), Ended("completed")), "turn 1 of 1000 Hz: 200 ms of 1050 Hz in its answer"),
        ((answer(1000, 0.18), answer(3000, 0.02), Ended("completed")), "turn 1 of 1000 Hz: 20 ms of 3000 Hz"),
        ((Words("tone 1050"), answer(), Ended("completed")), "turn 1 of 1000 Hz: tone 1050 in its words"),
        ((Words("tone 10"), Words("50 again"), answer(), Ended("completed")), "tone 1050 in its words"),
        ((answer(seconds=0.1), Ended("completed")), "complete, but -100 ms longer than an answer is"),
        ((*WHOLE, Ended("completed")), "after turn 1: one end more (completed )"),
        ((*WHOLE, Ended("failed", "tts")), "after turn 1: one end more (failed tts)"),
        ((*WHOLE, answer(), answer()), "after turn 1: 400 ms of 1000 Hz that belong to nothing"),
        ((*WHOLE, Words("tone 1000")), "after turn 1: words that belong to nothing"),
        ((Started(), Started()), "its speech began twice"),
        ((Stopped(1000.0),), "its speech ended twice"),
        ((Started(), Stopped(2500.0)), "its end was heard 1500 ms from where it was"),
    ],
)
def test_what_must_not_be_is_told(items: tuple[Item, ...], wrong: str) -> None:
    (told_wrong,) = told(*items).wrong
    assert told_wrong.startswith("one: ")
    assert wrong in told_wrong


def test_a_failure_is_an_end_and_not_wrong() -> None:
    ledger = told(answer(seconds=0.1), Ended("failed", "tts: the service is gone"))
    (turn,) = ledger.turns
    assert (turn.outcome, turn.why) == (Outcome.FAILED, "tts: the service is gone")
    assert ledger.wrong == []


def test_an_answer_taken_back_before_it_sounded_is_a_draft_and_no_end() -> None:
    ledger = told(Words("tone 1000"), Ended("cancelled"), *WHOLE)
    assert (ledger.drafts, ledger.wrong, ledger.turns[0].outcome) == (1, [], Outcome.ANSWERED)


def test_an_answer_cancelled_while_it_sounds_is_a_failure() -> None:
    assert told(answer(seconds=0.1), Ended("cancelled")).turns[0].outcome is Outcome.FAILED


def test_a_complaint_ends_nothing() -> None:
    ledger = told(Complaint("the vad is gone"))
    assert (ledger.complaints, ledger.wrong, ledger.turns[0].outcome) == (["the vad is gone"], [], Outcome.OPEN)


def test_a_turn_without_an_end_is_overdue_and_wrong() -> None:
    ledger = told(answer(seconds=0.1))
    ledger.overdue(60.0)
    assert ledger.turns[0].outcome is Outcome.OVERDUE
    assert ledger.wrong == ["one: turn 1: no end within the deadline"]


def test_a_hangup_is_wrong_unless_it_was_to_be_expected() -> None:
    ledger = told(*WHOLE)
    ledger.goodbye(60.0)
    assert ledger.wrong == []
    ledger.closed("(1006)", 60.0)
    assert ledger.wrong == ["one: the connection ended: (1006)"]


def test_a_goodbye_in_the_middle_of_a_turn_is_wrong() -> None:
    ledger = told(Started(), Stopped(1200.0))
    ledger.goodbye(60.0)
    assert ledger.wrong == ["one: turn 1: the suite hung up before its end"]


def test_first_words_that_meet_the_goodbye_on_the_way_are_no_turn() -> None:
    ledger = told(*WHOLE)
    ledger.begin(1050, 20.0)
    ledger.goodbye(20.1)
    assert (len(ledger.turns), ledger.wrong) == (1, [])


def test_where_failures_are_not_told_silence_is_a_failure_and_half_an_answer_is_wrong() -> None:
    silent, half = Ledger("one", failures_told=False), Ledger("two", failures_told=False)
    for ledger in (silent, half):
        ledger.begin(1000, 9.0)
    half.heard(answer(seconds=0.1), 10.0)
    for ledger in (silent, half):
        ledger.overdue(60.0)
    assert (silent.turns[0].outcome, silent.wrong) == (Outcome.FAILED, [])
    assert (half.turns[0].outcome, len(half.wrong)) == (Outcome.OVERDUE, 1)


def test_a_lost_transcript_is_no_end_of_its_own() -> None:
    ledger = told(Lost(), Ended("failed", "asr"))
    assert (ledger.transcripts_lost, ledger.wrong, ledger.turns[0].outcome) == (1, [], Outcome.FAILED)
