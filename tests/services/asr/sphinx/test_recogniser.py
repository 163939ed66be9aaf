"""One decoder, stepped through utterances."""

from pathlib import Path

import numpy as np
import pytest

from services.asr.sphinx.recogniser import PIECE, Hypothesis, Recogniser, _without_pauses
from tests.services.asr.turns import recording, tone

RNG = np.random.default_rng(5)


@pytest.fixture(scope="module")
def recogniser() -> Recogniser:
    pytest.importorskip("pocketsphinx")
    return Recogniser()


def decode(recogniser: Recogniser, pcm: bytes, step: int = 1024) -> Hypothesis:
    recogniser.begin()
    for begin in range(0, len(pcm), step):
        recogniser.accept(pcm[begin : begin + step])
        while recogniser.step():
            pass
    recogniser.end()
    while recogniser.step():
        pass
    return recogniser.result()


def test_the_utterance_alone_decides_what_is_understood(recogniser: Recogniser, speech: Path) -> None:
    short, other = recording(speech / "two_people.wav"), recording(speech / "today.wav")
    first = decode(recogniser, short)
    decode(recogniser, other)
    again = decode(recogniser, short, step=30_000)
    assert first == again
    assert first.text == "two people"
    assert 0.0 < first.confidence <= 1.0


def test_an_utterance_may_be_dropped_in_the_middle(recogniser: Recogniser, speech: Path) -> None:
    recogniser.begin()
    recogniser.accept(recording(speech / "lk_weather.wav"))
    for _ in range(3):
        assert recogniser.step()
    assert decode(recogniser, recording(speech / "today.wav")).text == "today"


@pytest.mark.parametrize(
    "pcm",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\0\0", id="one sample"),
        pytest.param(bytes(16_000), id="silence"),
        pytest.param(b"\xff\x7f" * 8000, id="offset"),
        pytest.param(b"\xff\x7f\x00\x80" * 4000, id="clipping"),
        pytest.param(RNG.integers(-32768, 32767, 8000).astype("<i2").tobytes(), id="noise"),
        pytest.param(tone(440), id="tone"),
    ],
)
def test_what_is_no_speech_gives_some_text_and_no_error(recogniser: Recogniser, pcm: bytes) -> None:
    assert isinstance(decode(recogniser, pcm).text, str)


def test_pauses_are_told_from_speech() -> None:
    quiet = RNG.normal(0, 3, 20 * PIECE).astype("<i2").tobytes()
    spoken = tone(300, 0.4)
    assert _without_pauses(quiet + spoken + quiet) == (spoken, False)
    assert _without_pauses(spoken + quiet) == (spoken, True)
    assert _without_pauses(bytes(32_000)) == (b"", False)
