"""Flite's own ways. The contract of all engines is in test_contract.py."""

import ctypes
import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from bus.errors import ConfigurationError
from services.tts.engines.flite import Engine, Settings, ascii_of

TEXTS = ["Hello there, my friend.", "What is seven times six?", "It is a large city with many sights."]


@pytest.fixture(scope="module")
def engine() -> Engine:
    made = Engine(Settings())
    try:
        made.load()
    except ConfigurationError as error:
        pytest.skip(str(error))
    return made


def said(engine: Engine, text: str, voice: str = "") -> bytes:
    return b"".join(engine.synthesize(text, voice, "", 1.0))


def test_equal_text_gives_equal_audio_from_four_threads_at_a_time(engine: Engine) -> None:
    # kal draws nothing from the C library's rand, so it is equal to the last bit.
    alone = [hashlib.sha256(said(engine, text, "kal")).digest() for text in TEXTS]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda text: hashlib.sha256(said(engine, text, "kal")).digest(), TEXTS * 8))
    assert together == alone * 8


def test_the_noise_in_the_default_voice_is_all_that_differs_between_threads(engine: Engine) -> None:
    alone = [np.frombuffer(said(engine, text), "<i2") for text in TEXTS]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda text: np.frombuffer(said(engine, text), "<i2"), TEXTS * 4))
    for one, other in zip(alone * 4, together, strict=True):
        assert len(one) == len(other)
        assert np.corrcoef(one, other)[0, 1] > 0.9


def test_letters_are_folded_to_those_flite_knows() -> None:
    assert ascii_of("Café—naïve “Grüße” 你好\0x") == 'Cafe, naive "Grusse"  x'


def test_a_missing_library_is_one_line_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: Any, **__: Any) -> None:
        raise OSError

    monkeypatch.setattr(ctypes, "CDLL", missing)
    with pytest.raises(ConfigurationError, match="apt-get install libflite1, or choose --engine espeak-ng"):
        Engine(Settings()).load()
