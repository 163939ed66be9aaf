"""The tones of the scripted engine."""

import numpy as np
import pytest

from bus.errors import EngineError
from services.tts.engines.scripted import LOWEST_HZ, Engine, Settings


def said(engine: Engine, text: str) -> bytes:
    return b"".join(engine.synthesize(text, "", "", 1.0))


def frequency_of(pcm: bytes, rate: int) -> float:
    samples = np.frombuffer(pcm, "<i2")
    return float(np.argmax(np.abs(np.fft.rfft(samples))) * rate / len(samples))


def test_a_canary_in_the_text_is_the_frequency() -> None:
    assert frequency_of(said(Engine(Settings()), "please play tone 440 now"), 16000) == pytest.approx(440, abs=2)


def test_other_texts_have_a_frequency_of_their_own() -> None:
    engine = Engine(Settings())
    one, two = engine.frequency_of("one"), engine.frequency_of("two")
    assert one != two
    assert min(one, two) >= LOWEST_HZ
    assert Engine(Settings(tone_hz=500)).frequency_of("one") == 500


def test_the_duration_is_that_of_the_text() -> None:
    engine = Engine(Settings(ms_per_character=50, tone_rate=24000))
    assert len(said(engine, "x" * 10)) == 2 * 24000 // 2


def test_failures_come_as_told() -> None:
    engine = Engine(Settings(fail_every=2))
    said(engine, "fine")
    pieces = engine.synthesize("fails", "", "", 1.0)
    assert next(pieces)
    with pytest.raises(EngineError):
        next(pieces)
    said(engine, "fine")


def test_an_impossible_latency_is_refused() -> None:
    with pytest.raises(ValueError, match="not a latency"):
        Settings(latency="soon")
