"""Audio cut into windows."""

import numpy as np
import pytest

from services.asr.whisper.window import LONGEST, cut, frames_for, is_silent, samples_of
from tests.services.asr.turns import tone


def test_what_fits_thirty_seconds_is_one_window() -> None:
    assert cut(bytes(2 * LONGEST), 0) == 2 * LONGEST


def test_a_longer_turn_is_cut_where_it_is_quietest_near_the_end_and_stays_cut_there() -> None:
    pcm = tone(440, 28) + bytes(6400) + tone(440, 7)
    end = cut(pcm, 0)
    assert 28 * 32_000 <= end <= 28 * 32_000 + 6400
    assert end % 2 == 0
    assert cut(pcm + tone(440, 5), 0) == end
    assert cut(pcm, end) == len(pcm)


@pytest.mark.parametrize(
    ("seconds", "multiple_s", "frames"),
    [(0, 30, 3000), (1, 30, 3000), (30, 30, 3000), (1, 5, 500), (5, 5, 500), (5.001, 5, 1000), (29, 4, 3000)],
)
def test_the_encoder_gets_the_next_multiple_and_never_more_than_thirty_seconds(
    seconds: float, multiple_s: float, frames: int
) -> None:
    assert frames_for(int(seconds * 16_000), multiple_s) == frames


def test_frames_are_even_for_any_multiple() -> None:
    assert all(frames_for(samples, 0.77) % 2 == 0 for samples in range(0, LONGEST, 9999))


def test_silence_is_what_has_no_loud_moment() -> None:
    quiet = np.zeros(16_000, np.float32)
    assert is_silent(quiet, -60)
    assert is_silent(quiet[:7], -60)
    assert is_silent(quiet[:0], -60)
    assert not is_silent(np.concatenate([quiet, samples_of(tone(440, 0.03))]), -60)
    assert is_silent(samples_of(tone(440, 1, level=20)), -60)
