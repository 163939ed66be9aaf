import struct
from typing import Any

import pytest

from launcher.client import Audio, Event
from launcher.exchange import Exchange
from tests.launcher.fake_suite import TONE, events_of_a_turn

PATIENCE_S = 20.0


class Followed:
    """An exchange with the lines it showed."""

    def __init__(self, *, events: bool = True, sounds_ms: list[float] | None = None, pace: float = 1.0) -> None:
        self.lines: list[tuple[float, str, str]] = []
        self.exchange = Exchange(
            lambda *line: self.lines.append(line),
            events=events,
            begun_s=100.0,
            sounds_ms=[800.0] if sounds_ms is None else sounds_ms,
            pace=pace,
        )

    def take(self, told: dict[str, Any], at_s: float) -> None:
        fields = dict(told)
        self.exchange.take(Event(fields.pop("type"), fields, at_s) if told else Audio(TONE, at_s))

    def turn(self, number: int, at_s: float, text: str = "hello") -> None:
        for event in events_of_a_turn(number, text):
            self.take(event, at_s)

    def kinds(self) -> list[str]:
        return [kind for _, kind, _ in self.lines]


def test_an_answered_turn_is_told_from_beginning_to_end() -> None:
    followed = Followed()
    followed.turn(1, at_s=101.0)
    outcome = followed.exchange.finish()
    assert followed.kinds() == ["speech", "speech", "partial", "heard", "latency", "audio", "answer"]
    assert (outcome.heard, outcome.answer) == ("hello", "You said hello.")
    assert (outcome.turns, outcome.completed, outcome.cancelled) == (1, 1, 0)
    assert (outcome.own_latency_ms, outcome.waterfall_ms) == (4.5, {"vad": 1.0, "llm": 2.5})
    assert outcome.answer_s == 0.1
    assert outcome.first_audio_ms == pytest.approx(200)
    assert followed.exchange.answered


def test_it_is_over_when_all_is_said_and_answered_and_nothing_more_comes() -> None:
    followed = Followed()
    followed.turn(1, at_s=101.0)
    assert not followed.exchange.over(101.6, PATIENCE_S)  # the recording goes on
    followed.exchange.spoken(101.5)
    assert not followed.exchange.over(101.6, PATIENCE_S)
    assert followed.exchange.over(102.1, PATIENCE_S)


def test_it_is_not_over_while_anything_is_awaited() -> None:
    events = events_of_a_turn(1)
    for length in range(1, len(events)):
        followed = Followed()
        followed.exchange.spoken(101.0)
        for event in events[:length]:
            followed.take(event, 101.0)
        assert not followed.exchange.over(110.0, PATIENCE_S)
        assert followed.exchange.over(122.0, PATIENCE_S)


def test_a_turn_in_which_nothing_was_understood_ends_unanswered() -> None:
    followed = Followed()
    followed.exchange.spoken(101.0)
    for event in events_of_a_turn(1, text="")[:4]:
        followed.take(event, 101.0)
    assert followed.exchange.over(102.0, PATIENCE_S)
    assert not followed.exchange.answered


def test_a_failed_turn_ends_with_its_reason() -> None:
    followed = Followed()
    followed.exchange.spoken(101.0)
    for event in events_of_a_turn(1)[:2]:
        followed.take(event, 101.0)
    followed.take({"type": "turn_failed", "turn_id": 1, "message": "asr: gone"}, 101.0)
    assert followed.exchange.over(102.0, PATIENCE_S)
    assert followed.exchange.finish().failures == ["asr: gone"]


def test_an_interrupted_answer_counts_as_cancelled_and_the_next_one_is_awaited() -> None:
    followed = Followed()
    followed.exchange.spoken(101.0)
    events = events_of_a_turn(1)
    for event in [*events[:-1], {"type": "interrupt", "response_id": "r1", "heard_ms": 500}]:
        followed.take(event, 101.0)
    followed.take(events[-1] | {"status": "cancelled", "text": "You said"}, 101.0)
    assert not followed.exchange.over(103.0, PATIENCE_S)
    followed.turn(2, at_s=104.0, text="again")
    outcome = followed.exchange.finish()
    assert (outcome.turns, outcome.completed, outcome.cancelled) == (2, 1, 1)
    assert (outcome.heard, outcome.answer) == ("hello again", "You said again.")


def test_transcripts_that_come_late_stand_where_they_were_said() -> None:
    followed = Followed()
    for turn, text in ((2, "world"), (1, "hello")):
        followed.take({"type": "transcript", "turn_id": turn, "text": text, "reopened": True}, 101.0)
    assert followed.exchange.finish().heard == "hello world"


def test_the_speech_ends_with_its_last_sound_not_with_the_silence_after_it() -> None:
    followed = Followed(sounds_ms=[200.0, 780.0, 1500.0])
    followed.turn(1, at_s=101.0)  # stopped at 900 ms
    assert followed.exchange.finish().first_audio_ms == pytest.approx(220)


def test_faster_than_real_time_there_is_no_first_audio_to_time() -> None:
    followed = Followed(pace=20.0)
    followed.turn(1, at_s=101.0)
    assert followed.exchange.finish().first_audio_ms is None


def test_without_events_an_answer_is_over_when_nothing_comes_for_a_second() -> None:
    followed = Followed(events=False)
    followed.exchange.spoken(100.9)
    followed.take({}, 101.5)
    followed.take({}, 102.0)
    assert not followed.exchange.over(102.9, PATIENCE_S)
    assert followed.exchange.over(103.1, PATIENCE_S)
    outcome = followed.exchange.finish()
    assert outcome.answer_s == 0.2
    assert outcome.first_audio_ms == pytest.approx(700)
    assert followed.exchange.answered


def test_without_events_audio_that_comes_too_soon_is_of_an_earlier_answer() -> None:
    followed = Followed(events=False)
    followed.exchange.spoken(100.9)
    followed.take({}, 100.5)
    followed.take({}, 101.0)
    assert not followed.exchange.over(103.0, PATIENCE_S)
    assert followed.exchange.over(104.1, PATIENCE_S)


def test_silence_is_no_answer() -> None:
    followed = Followed(events=False)
    followed.exchange.take(Audio(struct.pack("<100h", *[3] * 100), 102.0))
    assert not followed.exchange.answered


def test_an_answer_that_was_cut_off_with_the_connection_is_none() -> None:
    followed = Followed(events=False)
    followed.take({}, 102.0)
    assert followed.exchange.answered
    followed.exchange.outcome.failures.append("the suite closed the connection")
    assert not followed.exchange.answered


def test_unknown_events_are_passed_over() -> None:
    followed = Followed()
    followed.take({"type": "of_the_future", "x": 1}, 101.0)
    assert followed.lines == []
