"""The table is the law, and what comes late or twice never reaches it."""

from itertools import product

import pytest

from gateway.core.errors import IllegalTransitionError
from gateway.core.events import (
    InputLost,
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
    SpeechStopped,
    Transcript,
    TurnFailed,
)
from gateway.core.turn import TRANSITIONS, TurnEvent, Turns, TurnState

EVENTS: list[TurnEvent] = [
    SpeechStarted(2, 0, 0),
    SpeechStopped(1, 0, 0),
    Transcript(1, "hello", 500),
    TurnFailed(1, "lost"),
    InputLost("gone"),
]


def turns_in(state: TurnState) -> Turns:
    """Return turns that came to *state* by turn 1."""
    turns = Turns()
    if state is not TurnState.LISTENING:
        turns.receive(SpeechStarted(1, 0, 0))
    if state is TurnState.TRANSCRIBING:
        turns.receive(SpeechStopped(1, 0, 0))
    assert turns.state is state
    return turns


def states(turns: Turns, *events: TurnEvent) -> list[TurnState]:
    """Return the state after each of *events*."""
    after = []
    for event in events:
        turns.receive(event)
        after.append(turns.state)
    return after


@pytest.mark.parametrize(("state", "event"), list(product(TurnState, EVENTS)), ids=repr)
def test_the_table_is_the_law(state: TurnState, event: TurnEvent) -> None:
    turns = turns_in(state)
    if type(event) in TRANSITIONS[state]:
        turns.receive(event)
        assert turns.state is TRANSITIONS[state][type(event)]
    else:
        with pytest.raises(IllegalTransitionError, match=f"{type(event).__name__} while {state.value}"):
            turns.receive(event)
        assert turns.state is state


def test_every_state_has_a_row_and_every_row_a_known_event() -> None:
    assert set(TRANSITIONS) == set(TurnState)
    assert {kind for row in TRANSITIONS.values() for kind in row} == {type(event) for event in EVENTS}


def test_nobody_is_listened_to_in_the_beginning() -> None:
    turns = Turns()
    assert (turns.state, turns.newest, turns.awaiting, turns.owed) == (TurnState.LISTENING, 0, False, False)


def test_a_turn_that_is_over_awaits_its_text() -> None:
    turns = turns_in(TurnState.SPEAKING)
    assert turns.awaits(1)
    assert not turns.owed
    turns.receive(SpeechStopped(1, 0, 0))
    assert turns.owed
    turns.receive(Transcript(1, "hello", 500))
    assert not turns.awaiting


def test_a_text_that_comes_before_the_end_of_its_turn_leaves_it_open() -> None:
    turns = turns_in(TurnState.SPEAKING)
    assert states(turns, Transcript(1, "hello", 500), SpeechStopped(1, 0, 0)) == [
        TurnState.SPEAKING,
        TurnState.LISTENING,
    ]


@pytest.mark.parametrize("first", [1, 2])
def test_two_turns_are_transcribed_in_either_order(first: int) -> None:
    turns = turns_in(TurnState.TRANSCRIBING)
    events = (
        SpeechStarted(2, 0, 0),
        SpeechStopped(2, 0, 0),
        Transcript(first, "one", 500),
        TurnFailed(3 - first, "lost"),
    )
    assert states(turns, *events) == [
        TurnState.SPEAKING,
        TurnState.TRANSCRIBING,
        TurnState.TRANSCRIBING,
        TurnState.LISTENING,
    ]


def test_a_vad_that_is_lost_in_mid_speech_takes_the_open_turn_along_and_no_other() -> None:
    turns = turns_in(TurnState.TRANSCRIBING)
    turns.receive(SpeechStarted(2, 0, 0))
    turns.receive(InputLost("gone"))
    assert turns.state is TurnState.TRANSCRIBING
    assert (turns.awaits(1), turns.awaits(2)) == (True, False)


@pytest.mark.parametrize(
    ("state", "event", "expected"),
    [
        (TurnState.LISTENING, SpeechStarted(1, 0, 0), True),
        (TurnState.LISTENING, SpeechStopped(1, 0, 0), False),
        (TurnState.LISTENING, Transcript(1, "", 0), False),
        (TurnState.LISTENING, TurnFailed(1, ""), False),
        (TurnState.SPEAKING, SpeechStarted(1, 0, 0), False),
        (TurnState.SPEAKING, SpeechStarted(2, 0, 0), True),
        (TurnState.SPEAKING, SpeechStopped(1, 0, 0), True),
        (TurnState.SPEAKING, SpeechStopped(2, 0, 0), False),
        (TurnState.SPEAKING, Transcript(1, "", 0), True),
        (TurnState.SPEAKING, Transcript(2, "", 0), False),
        (TurnState.TRANSCRIBING, SpeechStarted(1, 0, 0), False),
        (TurnState.TRANSCRIBING, SpeechStopped(1, 0, 0), False),
        (TurnState.TRANSCRIBING, Transcript(1, "", 0), True),
        (TurnState.TRANSCRIBING, TurnFailed(1, ""), True),
        *[(state, InputLost(""), True) for state in TurnState],
    ],
    ids=repr,
)
def test_late_and_doubled_events_are_not_expected(state: TurnState, event: TurnEvent, *, expected: bool) -> None:
    assert turns_in(state).expects(event) is expected


@pytest.mark.parametrize(("state", "event"), list(product(TurnState, EVENTS)), ids=repr)
def test_what_is_expected_is_never_illegal(state: TurnState, event: TurnEvent) -> None:
    turns = turns_in(state)
    if turns.expects(event):
        turns.receive(event)


def test_a_pause_lasts_until_the_speaker_goes_on() -> None:
    turns = turns_in(TurnState.SPEAKING)
    turns.pause(SpeechPaused(1))
    assert turns.paused
    turns.pause(SpeechResumed(1))
    assert not turns.paused


@pytest.mark.parametrize("event", [SpeechStopped(1, 0, 0), SpeechStarted(2, 0, 0), InputLost("gone")], ids=repr)
def test_a_pause_ends_with_its_turn(event: TurnEvent) -> None:
    turns = turns_in(TurnState.SPEAKING)
    turns.pause(SpeechPaused(1))
    turns.receive(event)
    assert not turns.paused


def test_pauses_of_other_turns_are_late() -> None:
    turns = turns_in(TurnState.SPEAKING)
    turns.pause(SpeechPaused(2))
    assert not turns.paused
    turns = turns_in(TurnState.TRANSCRIBING)
    turns.pause(SpeechPaused(1))
    assert not turns.paused
