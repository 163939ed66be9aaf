"""The endpointer, fed with probabilities written by hand. A window is 512 samples (32 ms)."""

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.vad.endpointing import (
    TRANSITIONS,
    Cue,
    Endpointer,
    Event,
    IllegalCueError,
    Parameters,
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
    SpeechStopped,
    State,
)

W = 512
MS = 16
# Two windows of silence end a turn, two of speech begin one, one of padding stands before it.
QUICK = Parameters(prefix_padding_ms=32, silence_duration_ms=64, min_speech_ms=64)
LEVELS = {"#": 0.8, "+": 0.4, ".": 0.1}  # above both thresholds, between them, below both


def hear(endpointer: Endpointer, windows: str, first: int = 0) -> list[Event]:
    """Play *windows*, one letter each (`LEVELS`), from window number *first* on."""
    events: list[Event] = []
    for number, letter in enumerate(windows, first):
        events += endpointer.hear(number * W, (number + 1) * W, LEVELS[letter])
    return events


def started(window: int, decided: int) -> SpeechStarted:
    return SpeechStarted(window * W, decided * W)


def stopped(window: int) -> SpeechStopped:
    return SpeechStopped(window * W, window * W)


@pytest.mark.parametrize(("state", "cue"), list(product(State, Cue)), ids=repr)
def test_the_table_is_the_law(state: State, cue: Cue) -> None:
    endpointer = Endpointer(QUICK)
    endpointer.state = state
    if cue in TRANSITIONS[state]:
        endpointer._go(cue)
        assert endpointer.state is TRANSITIONS[state][cue]
    else:
        with pytest.raises(IllegalCueError):
            endpointer._go(cue)
        assert endpointer.state is state


@pytest.mark.parametrize(
    ("windows", "events"),
    [
        pytest.param("........", [], id="silence is no turn"),
        pytest.param("++++++++", [], id="nor is what lies below the threshold"),
        pytest.param("...#....", [], id="one window is too short to be speech"),
        pytest.param("...#.#.#", [], id="nor do single windows add up"),
        pytest.param("...##", [started(2, 5)], id="two are a turn, which begins one before"),
        pytest.param("...#+", [started(2, 5)], id="speech that fades is still speech"),
        pytest.param("##", [started(0, 2)], id="nothing is before the session"),
        pytest.param("...##..", [started(2, 5), stopped(7)], id="two silent windows end it"),
        pytest.param("...##.#.#..", [started(2, 5), stopped(11)], id="one does not"),
        pytest.param("...##+++++", [started(2, 5)], id="silence does not begin between the thresholds"),
        pytest.param("...##.+++", [started(2, 5)], id="nor does a turn end there"),
        pytest.param("...##.+.", [started(2, 5), stopped(8)], id="but the time counts"),
        pytest.param("...##.+#..", [started(2, 5), stopped(10)], id="and speech resets it"),
        pytest.param("...##..##..", [started(2, 5), stopped(7), started(7, 9), stopped(11)], id="turns do not overlap"),
        pytest.param("##..#.##..", [started(0, 2), stopped(4), started(5, 8), stopped(10)], id="nor do false starts"),
    ],
)
def test_speech_and_silence_make_turns(windows: str, events: list[Event]) -> None:
    assert hear(Endpointer(QUICK), windows) == events


@pytest.mark.parametrize(
    ("windows", "events"),
    [
        pytest.param("...#", [started(2, 4)], id="one window is enough of a detector that is a window late"),
        pytest.param("...#.#", [started(2, 4)], id="and the next belongs to the turn"),
        pytest.param("...+", [], id="but no window below the threshold"),
    ],
)
def test_speech_that_a_detector_misses_counts(windows: str, events: list[Event]) -> None:
    assert hear(Endpointer(QUICK, 32), windows) == events


@pytest.mark.parametrize(
    ("threshold", "probability", "silent"),
    [(0.5, 0.34, True), (0.5, 0.36, False), (0.1, 0.02, False), (0.1, 0.005, True), (0.9, 0.7, True)],
)
def test_silence_is_below_the_threshold_by_a_margin(threshold: float, probability: float, silent: bool) -> None:
    endpointer = Endpointer(replace(QUICK, threshold=threshold))
    for number in range(2):
        endpointer.hear(number * W, (number + 1) * W, threshold)
    endpointer.hear(2 * W, 3 * W, probability)
    assert endpointer.state is (State.LULL if silent else State.SPEAKING)


def test_a_window_ends_where_the_silence_is_complete() -> None:
    endpointer = Endpointer(replace(QUICK, silence_duration_ms=100))
    assert endpointer.next_end(0, W) == W
    hear(endpointer, "##")
    assert endpointer.next_end(2 * W, W) == 3 * W
    hear(endpointer, "...", first=2)
    complete = 2 * W + 100 * MS
    assert endpointer.next_end(5 * W, W) == complete
    assert endpointer.hear(5 * W, complete, 0.1) == [SpeechStopped(complete, complete)]
    assert endpointer.next_end(complete, W) == complete + W


def test_who_speaks_in_the_window_that_ended_early_goes_on() -> None:
    endpointer = Endpointer(replace(QUICK, silence_duration_ms=100))
    hear(endpointer, "##...")
    early = endpointer.next_end(5 * W, W)
    assert endpointer.hear(5 * W, early, 0.8) == []
    assert endpointer.next_end(early, W) == early + W


def test_silence_counts_from_the_first_silent_sample_on() -> None:
    endpointer = Endpointer(replace(QUICK, silence_duration_ms=500))
    hear(endpointer, "##")
    assert hear(endpointer, "." * 20, 2) == [stopped(18)]  # 16 windows are the first that hold 500 ms


def test_a_pause_is_told_once_and_so_is_its_end() -> None:
    endpointer = Endpointer(replace(QUICK, silence_duration_ms=320, pause_ms=64))
    assert hear(endpointer, "##.....#..#...#") == [
        started(0, 2),
        SpeechPaused(2 * W, 4 * W),
        SpeechResumed(7 * W),
        SpeechPaused(8 * W, 10 * W),
        SpeechResumed(10 * W),
        SpeechPaused(11 * W, 13 * W),
        SpeechResumed(14 * W),
    ]


def test_a_turn_may_end_in_a_pause() -> None:
    endpointer = Endpointer(replace(QUICK, silence_duration_ms=128, pause_ms=32))
    assert hear(endpointer, "##....") == [started(0, 2), SpeechPaused(2 * W, 3 * W), stopped(6)]


# Four windows of silence end a turn, eight if a model expects more; it is asked after two.
ADVISED = replace(QUICK, silence_duration_ms=128, pause_ms=64, end_of_turn_threshold=0.5, unfinished_silence_ms=256)


def test_advice_ends_the_turn_where_it_was_asked_for() -> None:
    endpointer = Endpointer(ADVISED)
    assert hear(endpointer, "##..")[-1] == SpeechPaused(2 * W, 4 * W)
    hear(endpointer, ".", 4)
    assert endpointer.advise(4 * W, 0.5, 5 * W) == [SpeechStopped(4 * W, 5 * W)]
    assert hear(endpointer, "##", 5) == [started(4, 7)]  # its padding begins where the turn ended


def test_advice_against_the_end_makes_the_silence_longer() -> None:
    endpointer = Endpointer(ADVISED)
    hear(endpointer, "##..")
    assert endpointer.advise(4 * W, 0.49, 4 * W) == []
    assert hear(endpointer, "..........", 4) == [stopped(10)]


def test_the_silence_of_an_unfinished_turn_is_never_shorter_than_the_usual() -> None:
    endpointer = Endpointer(replace(ADVISED, unfinished_silence_ms=0))
    hear(endpointer, "##..")
    endpointer.advise(4 * W, 0.1, 4 * W)
    assert hear(endpointer, "..", 4) == [stopped(6)]


def test_without_an_answer_the_silence_rules() -> None:
    endpointer = Endpointer(ADVISED)
    assert hear(endpointer, "##....")[-1] == stopped(6)
    assert endpointer.advise(4 * W, 0.9, 6 * W) == []


def test_advice_about_a_pause_that_is_over_is_ignored() -> None:
    endpointer = Endpointer(ADVISED)
    hear(endpointer, "##..#")
    assert endpointer.advise(4 * W, 0.9, 5 * W) == []
    assert hear(endpointer, "..", 5) == [SpeechPaused(5 * W, 7 * W)]
    assert endpointer.advise(4 * W, 0.9, 7 * W) == []
    assert endpointer.state is State.PAUSED
    assert endpointer.advise(7 * W, 0.9, 7 * W) == [stopped(7)]


def test_who_goes_on_after_advice_is_told_to_have_resumed_and_is_asked_about_again() -> None:
    endpointer = Endpointer(ADVISED)
    hear(endpointer, "##..")
    endpointer.advise(4 * W, 0.1, 4 * W)
    events = hear(endpointer, "...#..", 4)
    assert events == [SpeechResumed(7 * W), SpeechPaused(8 * W, 10 * W)]
    assert endpointer.advise(10 * W, 0.9, 10 * W) == [stopped(10)]


def test_advice_that_nobody_wants_is_ignored() -> None:
    endpointer = Endpointer(replace(ADVISED, end_of_turn_threshold=0.0))
    hear(endpointer, "##..")
    assert endpointer.advise(4 * W, 1.0, 4 * W) == []
    assert endpointer.state is State.PAUSED


@pytest.mark.parametrize("probability", [0.1, 0.9])
def test_a_turn_that_becomes_manual_takes_no_advice(probability: float) -> None:
    endpointer = Endpointer(ADVISED)
    hear(endpointer, "##..")
    endpointer.replace(replace(ADVISED, manual=True), 4 * W)
    assert endpointer.advise(4 * W, probability, 4 * W) == []
    assert endpointer.state is State.HELD


def test_a_pause_as_long_as_the_silence_is_the_end() -> None:
    endpointer = Endpointer(replace(QUICK, pause_ms=64))
    assert hear(endpointer, "##..") == [started(0, 2), stopped(4)]


def test_a_turn_that_is_too_long_is_cut_and_the_next_goes_on_where_it_ended() -> None:
    endpointer = Endpointer(replace(QUICK, max_speech_ms=128))
    assert hear(endpointer, "##########") == [started(0, 2), stopped(4), started(4, 6), stopped(8), started(8, 10)]


def test_a_commit_ends_the_open_turn_at_once() -> None:
    endpointer = Endpointer(QUICK)
    hear(endpointer, "###")
    assert endpointer.commit(3 * W + 100) == [SpeechStopped(3 * W + 100, 3 * W + 100)]
    assert endpointer.state is State.QUIET


@pytest.mark.parametrize("windows", ["", "...", "..#"])
def test_a_commit_with_nothing_open_is_ignored(windows: str) -> None:
    endpointer = Endpointer(QUICK)
    hear(endpointer, windows)
    before = endpointer.state
    assert endpointer.commit(len(windows) * W) == []
    assert endpointer.state is before


@pytest.mark.parametrize("windows", ["...", "..#", "..##", "..##.", "..##.+"])
def test_what_was_cleared_belongs_to_no_turn(windows: str) -> None:
    endpointer = Endpointer(replace(QUICK, prefix_padding_ms=300))
    hear(endpointer, windows)
    endpointer.clear(len(windows) * W)
    assert hear(endpointer, "##", len(windows)) == [started(len(windows), len(windows) + 2)]


def test_no_turn_reaches_across_missing_audio() -> None:
    endpointer = Endpointer(replace(QUICK, prefix_padding_ms=300))
    hear(endpointer, "##")
    assert endpointer.miss(2 * W) == [stopped(2)]
    assert hear(endpointer, "##", 2) == [started(2, 4)]
    assert Endpointer(QUICK).miss(W) == []


def test_a_manual_turn_begins_with_the_first_audio_and_ends_with_the_commit() -> None:
    endpointer = Endpointer(replace(QUICK, manual=True))
    assert endpointer.commit(0) == []
    assert endpointer.hold(0, 100) == [SpeechStarted(0, 0)]
    assert endpointer.hold(100, 5_000) == []
    assert endpointer.commit(5_000) == [SpeechStopped(5_000, 5_000)]
    assert endpointer.commit(5_000) == []
    assert endpointer.hold(5_000, 5_001) == [SpeechStarted(5_000, 5_000)]
    endpointer.clear(5_001)
    assert endpointer.hold(5_001, 6_000) == [SpeechStarted(5_001, 5_001)]


def test_a_manual_turn_has_an_end_too() -> None:
    endpointer = Endpointer(replace(QUICK, manual=True, max_speech_ms=100))
    assert endpointer.limit(7) == 7 + 100 * MS
    endpointer.hold(7, 1_000)
    assert endpointer.limit(1_000) == 7 + 100 * MS
    assert endpointer.hold(1_000, 7 + 100 * MS) == [SpeechStopped(1_607, 1_607)]


def test_shorter_silence_asked_for_in_a_turn_counts_at_once() -> None:
    endpointer = Endpointer(replace(QUICK, silence_duration_ms=10_000))
    hear(endpointer, "##......")
    assert endpointer.replace(QUICK, 8 * W) == []
    assert hear(endpointer, ".", 8) == [stopped(9)]


def test_an_open_turn_becomes_manual_and_back() -> None:
    endpointer = Endpointer(replace(QUICK, silence_duration_ms=320, pause_ms=64))
    hear(endpointer, "##..")
    manual = replace(QUICK, manual=True)
    assert endpointer.replace(manual, 4 * W) == [SpeechResumed(4 * W)]
    assert endpointer.hold(4 * W, 40 * W) == []
    assert endpointer.replace(QUICK, 40 * W) == []
    assert hear(endpointer, "..", 40) == [stopped(42)]


def test_an_onset_becomes_a_manual_turn() -> None:
    endpointer = Endpointer(QUICK)
    hear(endpointer, "...#")
    endpointer.replace(replace(QUICK, manual=True), 4 * W)
    assert endpointer.hold(4 * W, 5 * W) == [started(2, 4)]


def test_more_padding_does_not_reach_what_was_not_kept() -> None:
    endpointer = Endpointer(QUICK)
    hear(endpointer, "." * 50)
    kept = endpointer.keep_from(50 * W)
    endpointer.replace(replace(QUICK, prefix_padding_ms=1_000), 50 * W)
    assert hear(endpointer, "##", 50) == [SpeechStarted(kept, 52 * W)]


@given(
    windows=st.text("#+.", max_size=60),
    asked=st.builds(
        Parameters,
        prefix_padding_ms=st.sampled_from([0, 32, 300]),
        silence_duration_ms=st.sampled_from([32, 64, 200]),
        min_speech_ms=st.sampled_from([1, 64, 100]),
        pause_ms=st.sampled_from([0, 32, 96]),
        max_speech_ms=st.sampled_from([1, 200, 120_000]),
        manual=st.just(False),
    ),
)
@settings(deadline=None)
def test_events_come_in_pairs_and_in_order(windows: str, asked: Parameters) -> None:
    endpointer = Endpointer(asked)
    is_open = is_paused = False
    floor = 0
    for number, letter in enumerate(windows):
        keep = endpointer.keep_from(number * W)
        for event in endpointer.hear(number * W, (number + 1) * W, LEVELS[letter]):
            match event:
                case SpeechStarted():
                    assert not is_open
                    assert keep <= event.at < event.decided_at  # what the caller was told to keep is there
                    is_open, is_paused = True, False
                case SpeechStopped():
                    assert is_open
                    is_open = False
                case SpeechPaused():
                    assert is_open
                    assert not is_paused
                    is_paused = True
                case SpeechResumed():
                    assert is_open
                    assert is_paused
                    is_paused = False
            assert isinstance(event, SpeechPaused) or event.at >= floor
            floor = event.at if isinstance(event, SpeechStopped) else floor
        assert endpointer.open is is_open
