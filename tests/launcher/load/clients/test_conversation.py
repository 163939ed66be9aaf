"""What a client makes of what it hears; times are ms of the run."""

import pytest

from launcher.load.clients.conversation import Conversation
from launcher.load.findings import Findings
from launcher.load.schedule import Turn, Visit

# One asks from 1000 to 2000 ms; the silence is complete at 2500.
QUESTION = Turn(1000, 1000, 0)
INTERRUPTION = Turn(4000, 1000, 0, interrupts=True)


def conversation(*turns: Turn, flushes: bool = True) -> tuple[Conversation, Findings]:
    findings = Findings()
    made = Conversation(Visit(0, 0, 100, 9000, turns), findings, 40, flushes=flushes)
    made.admitted = True
    return made, findings


def answer(heard: Conversation, from_ms: float, *, length_ms: int = 400) -> None:
    for piece in range(0, length_ms, 40):
        heard.audio(40, from_ms + piece / 10)


def test_latency_counts_from_the_chunk_that_completed_the_silence() -> None:
    heard, findings = conversation(QUESTION)
    heard.stopped(2500, 2640)
    answer(heard, 2650)
    heard.ended(completed=True, why="completed", now_ms=2700)
    assert heard.settled
    heard.settle(ends_told=True)
    # The visit begins at 100; 2500 lies at the end of the chunk that leaves at 2520.
    assert findings.times["latency"] == [2650 - 100 - 2520]
    assert findings.times["voice_to_voice"] == [2650 - 100 - 2000]
    assert (findings.counts["turns"], findings.counts["answered"], findings.counts["late_chunks"]) == (1, 1, 0)
    assert findings.errors == {}


def test_a_turn_without_an_answer_is_lost() -> None:
    heard, findings = conversation(QUESTION)
    heard.stopped(2500, 2640)
    assert not heard.settled
    heard.settle(ends_told=True)
    assert (findings.counts["turns"], findings.counts["answered"]) == (1, 0)
    assert findings.errors == {"no answer": 1}


@pytest.mark.parametrize(
    ("stopped", "began", "told"),
    [
        (False, False, "the end of the turn was not heard"),
        (True, False, "no answer"),
        (True, True, "the end of the answer did not come"),
    ],
)
def test_what_was_missing_is_told(stopped: bool, began: bool, told: str) -> None:
    heard, findings = conversation(QUESTION)
    if stopped:
        heard.stopped(2500, 2640)
    if began:
        answer(heard, 2700)
    heard.settle(ends_told=True)
    assert findings.errors == {told: 1}


def test_an_answer_that_fails_is_lost() -> None:
    heard, findings = conversation(QUESTION)
    heard.stopped(2500, 2640)
    answer(heard, 2650)
    heard.ended(completed=False, why="failed", now_ms=2900)
    heard.settle(ends_told=True)
    assert findings.counts["answered"] == 0
    assert findings.errors == {"answer failed": 1}


def test_a_draft_that_is_thrown_away_is_no_answer_and_no_loss() -> None:
    heard, findings = conversation(QUESTION)
    heard.stopped(2500, 2640)
    heard.ended(completed=False, why="cancelled", now_ms=2645)
    heard.stopped(2544, 2660)
    answer(heard, 2700)
    heard.ended(completed=True, why="completed", now_ms=2800)
    heard.settle(ends_told=True)
    assert (findings.counts["answered"], findings.errors) == (1, {})


def test_a_player_is_silent_when_it_is_told_of_speech() -> None:
    heard, findings = conversation(QUESTION, INTERRUPTION)
    heard.stopped(2500, 2640)
    answer(heard, 2650, length_ms=4000)
    heard.ended(completed=True, why="completed", now_ms=3000)
    heard.interrupted(100 + 4040 + 70)  # the chunk with the onset leaves at 4040 of the visit
    heard.stopped(5500, 5650)
    answer(heard, 5700)
    heard.ended(completed=True, why="completed", now_ms=5800)
    heard.settle(ends_told=True)
    assert findings.times["silence_after_barge_in"] == [70]
    assert (findings.counts["barge_ins"], findings.counts["answered"]) == (1, 2)


def test_without_a_player_of_its_own_a_client_has_heard_what_came() -> None:
    heard, findings = conversation(QUESTION, INTERRUPTION, flushes=False)
    heard.stopped(2500, 2640)
    for piece in range(40):
        heard.audio(40, 2650 + 40 * piece)
    heard.interrupted(4300)
    heard.ended(completed=False, why="cancelled", now_ms=4301)
    heard.settle(ends_told=True)
    assert findings.times["silence_after_barge_in"] == [2650 + 40 * 39 - 4140]
    assert findings.errors == {"the end of the turn was not heard": 1}


def test_a_voice_that_goes_on_after_an_interruption_is_an_error() -> None:
    heard, findings = conversation(QUESTION, INTERRUPTION)
    heard.stopped(2500, 2640)
    answer(heard, 2650, length_ms=8000)
    heard.ended(completed=True, why="completed", now_ms=3000)
    heard.settle(ends_told=True)
    assert findings.errors["an interruption did not silence the voice"] == 1


def test_an_answer_that_was_over_cannot_be_interrupted() -> None:
    heard, findings = conversation(QUESTION, INTERRUPTION)
    heard.stopped(2500, 2640)
    answer(heard, 2650)
    heard.ended(completed=True, why="completed", now_ms=3000)
    heard.interrupted(4200)
    heard.settle(ends_told=True)
    assert findings.counts["nothing_to_interrupt"] == 1
    assert "silence_after_barge_in" not in findings.times


def test_an_answer_longer_than_the_pause_is_the_users_own_doing() -> None:
    next_question = Turn(4000, 1000, 0)
    heard, findings = conversation(QUESTION, next_question)
    heard.stopped(2500, 2640)
    answer(heard, 2650, length_ms=4000)
    heard.ended(completed=False, why="cancelled", now_ms=4300)
    heard.settle(ends_told=True)
    assert (findings.counts["answered"], findings.counts["talked_over"]) == (1, 1)


def test_a_turn_that_was_taken_for_two_is_counted() -> None:
    heard, findings = conversation(QUESTION)
    heard.stopped(1612, 1700)
    answer(heard, 1720)
    heard.stopped(2500, 2640)
    assert findings.counts["split"] == 1


def test_who_was_refused_lost_nothing() -> None:
    heard, findings = conversation(QUESTION)
    heard.admitted, heard.refused = False, True
    assert heard.settled
    heard.settle(ends_told=True)
    assert (findings.counts["turns"], findings.counts["turns_refused"]) == (0, 1)


def test_audio_without_events_belongs_to_the_words_that_ended_last() -> None:
    heard, findings = conversation(QUESTION)
    heard.answering(2650)
    heard.audio(40, 2650)
    heard.answering(2660)
    heard.audio(40, 2660)
    heard.settle(ends_told=False)
    assert findings.times["latency"] == [2650 - 100 - 2520]
    assert findings.counts["answered"] == 1


def test_nobody_waits_for_an_answer_after_hanging_up() -> None:
    heard, findings = conversation(Turn(1000, 1000, 0, abandoned=True))
    assert heard.settled
    heard.settle(ends_told=True)
    assert findings.counts["turns"] == 0
