"""The synthetic voice."""

import numpy as np

from launcher.check.sound import RATE, silence, voice
from tests.support.sound import loudness


def test_a_voice_lasts_as_long_as_is_asked_and_is_always_the_same() -> None:
    pcm = voice(0.5)
    assert len(pcm) == RATE
    voice.cache_clear()
    assert voice(0.5) == pcm != voice(0.5, seed=2)


def test_a_voice_is_as_loud_as_people_and_is_not_clipped() -> None:
    samples = np.frombuffer(voice(1.0), "<i2")
    assert 1000 < loudness(voice(1.0)) < 6000
    assert np.abs(samples).max() <= 12_000


def test_silence_is_silent() -> None:
    assert silence(0.25) == bytes(RATE // 2)
