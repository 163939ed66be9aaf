"""Turns without a text: what is sent again of them, when, and how often."""

import pytest

from gateway.core.commands import RecogniseAgain
from gateway.core.input import BACK_MS, BYTES_PER_MS, InputAudio
from gateway.core.utterances import MOST_FAILURES, Utterances

SECOND = 16_000
LATE = "asr: nothing came in time"


class Heard:
    """Ten seconds of audio, in which every sample tells its second, and the turns in it."""

    def __init__(self) -> None:
        self.audio = InputAudio()
        for number in range(1, 11):
            list(self.audio.push(bytes((number, 0)) * SECOND))
        self.utterances = Utterances(self.audio)

    def turn(self, turn_id: int, start: int, end: int) -> None:
        """Have a turn begin and end at these seconds."""
        self.utterances.begin(turn_id, start * SECOND)
        assert self.utterances.stop(turn_id, end * SECOND) == []


def again(turn_id: int, start: int, end: int, elsewhere: str = "") -> list[RecogniseAgain]:
    """Return what sends the turn between these seconds again."""
    pcm = b"".join(bytes((number, 0)) * SECOND for number in range(start + 1, end + 1))
    return [RecogniseAgain(turn_id, start * SECOND, pcm, elsewhere)]


def test_a_turn_that_is_over_is_sent_again_at_once() -> None:
    heard = Heard()
    heard.turn(1, 2, 4)
    assert heard.utterances.failed(1) == again(1, 2, 4)


def test_a_turn_that_is_open_is_sent_again_when_it_is_over_however_often_its_failure_is_told() -> None:
    heard = Heard()
    heard.utterances.begin(1, 2 * SECOND)
    for _ in range(MOST_FAILURES + 1):
        assert heard.utterances.failed(1) == []
    assert heard.utterances.stop(1, 4 * SECOND) == again(1, 2, 4)


def test_a_turn_is_given_up_after_two_failures() -> None:
    heard = Heard()
    heard.turn(1, 2, 4)
    assert heard.utterances.failed(1)
    assert heard.utterances.failed(1) is None


def test_refusals_do_not_count() -> None:
    heard = Heard()
    heard.turn(1, 2, 4)
    for _ in range(MOST_FAILURES + 1):
        assert heard.utterances.failed(1, refused=True) == again(1, 2, 4)
    assert heard.utterances.failed(1)
    assert heard.utterances.failed(1) is None


def test_a_turn_that_went_from_one_vad_to_another_is_sent_again_and_has_not_failed() -> None:
    heard = Heard()
    heard.utterances.begin(1, 2 * SECOND)
    heard.utterances.interrupted(1)
    assert heard.utterances.stop(1, 4 * SECOND) == again(1, 2, 4)
    assert heard.utterances.failed(1)
    assert heard.utterances.failed(1) is None


def test_who_is_late_is_not_asked_again_and_who_refuses_after_that_may_be() -> None:
    heard = Heard()
    heard.turn(1, 2, 4)
    assert heard.utterances.failed(1, elsewhere=LATE) == again(1, 2, 4, LATE)
    assert heard.utterances.failed(1, refused=True) == again(1, 2, 4)
    assert heard.utterances.failed(1, elsewhere=LATE) is None


@pytest.mark.parametrize("over", [True, False])
def test_nothing_is_sent_again_of_a_turn_that_has_its_text(over: bool) -> None:
    heard = Heard()
    heard.utterances.begin(1, 2 * SECOND)
    if over:
        heard.utterances.stop(1, 4 * SECOND)
    else:
        heard.utterances.interrupted(1)
    heard.utterances.end(1)
    heard.utterances.end(1)
    heard.utterances.interrupted(1)
    assert heard.utterances.failed(1) is None
    assert heard.utterances.stop(1, 4 * SECOND) == []


def test_turns_fail_each_for_itself() -> None:
    heard = Heard()
    heard.turn(1, 1, 2)
    heard.turn(2, 3, 5)
    assert heard.utterances.failed(2) == again(2, 3, 5)
    assert heard.utterances.failed(1) == again(1, 1, 2)


def test_audio_is_kept_from_the_oldest_turn_on_that_has_no_text() -> None:
    heard = Heard()
    assert heard.audio.keep_from is None
    heard.turn(1, 1, 2)
    heard.turn(2, 3, 5)
    assert heard.audio.keep_from == SECOND
    heard.utterances.end(2)
    assert heard.audio.keep_from == SECOND
    heard.utterances.end(1)
    assert heard.audio.keep_from is None


def test_a_turn_whose_audio_is_gone_is_given_up() -> None:
    heard = Heard()
    heard.audio.consumed(10 * SECOND)
    heard.turn(1, 1, 4)
    assert heard.utterances.failed(1) is None


def test_a_turn_whose_padding_alone_is_gone_is_sent_without_it() -> None:
    heard = Heard()
    heard.audio.consumed(10 * SECOND)
    heard.turn(1, 7, 9)
    (command,) = heard.utterances.failed(1) or []
    assert 7 * SECOND < command.at_sample <= 10 * SECOND - BACK_MS * BYTES_PER_MS // 2
    assert command.at_sample + len(command.pcm) // 2 == 9 * SECOND
