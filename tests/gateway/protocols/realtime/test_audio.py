"""Audio of Realtime clients: G.711, rates."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.realtime.config import AudioFormat
from gateway.protocols.realtime.audio import HALF_MS, PCM_RATES, Resampler, from_wire, to_wire

ULAW, ALAW = AudioFormat("pcmu", 8_000), AudioFormat("pcma", 8_000)
FORMATS = [*(AudioFormat("pcm", rate) for rate in PCM_RATES), ULAW, ALAW]


def tone(rate: int, hz: float, seconds: float = 1.0) -> bytes:
    """Return a sine of half of full scale."""
    at = np.arange(int(rate * seconds)) / rate
    return (np.sin(2 * np.pi * hz * at) * 16_000).astype("<i2").tobytes()


def loudness(pcm: bytes) -> float:
    """Return the power of *pcm* without its ends, in dB of a tone's."""
    samples = np.frombuffer(pcm, "<i2")[400:-400].astype(float)
    return float(10 * np.log10(max(samples.var(), 1e-9) / (16_000**2 / 2)))


@pytest.mark.parametrize(
    ("form", "vectors"),
    [
        (ULAW, {0xFF: 0, 0x7F: 0, 0x80: 32124, 0x00: -32124, 0xFE: 8, 0x7E: -8, 0x8F: 16764, 0xAA: 5372, 0xF0: 120}),
        (ALAW, {0xD5: 8, 0x55: -8, 0xAA: 32256, 0x2A: -32256, 0x80: 5504, 0x00: -5504, 0xD4: 24}),
    ],
    ids=["mu-law", "a-law"],
)
def test_codes_stand_for_the_samples_of_the_standard(form: AudioFormat, vectors: dict[int, int]) -> None:
    assert from_wire(bytes(vectors), form).tolist() == list(vectors.values())


@pytest.mark.parametrize(
    ("form", "vectors"),
    [
        (ULAW, {0: 0xFF, -1: 0x7E, 4: 0xFE, 32767: 0x80, -32768: 0x00, 1000: 0xCE, -1000: 0x4E}),
        (ALAW, {0: 0xD5, -1: 0x55, 16: 0xD4, 32767: 0xAA, -32768: 0x2A, 1000: 0xFA, -1000: 0x7A}),
    ],
    ids=["mu-law", "a-law"],
)
def test_samples_get_the_codes_of_the_standard(form: AudioFormat, vectors: dict[int, int]) -> None:
    assert list(to_wire(np.array(list(vectors), "<i2").tobytes(), form)) == list(vectors.values())


@pytest.mark.parametrize("form", [ULAW, ALAW], ids=["mu-law", "a-law"])
def test_every_code_survives_a_round_trip(form: AudioFormat) -> None:
    """Two of mu-law's codes are zero; the negative one becomes the other."""
    codes = bytes(code for code in range(256) if (form, code) != (ULAW, 0x7F))
    assert to_wire(from_wire(codes, form).tobytes(), form) == codes


@pytest.mark.parametrize("form", FORMATS, ids=str)
def test_a_second_becomes_a_second(form: AudioFormat) -> None:
    raw = to_wire(tone(form.rate, 440), form)
    pcm = Resampler(form).push(raw)
    assert abs(len(pcm) // 2 - 16_000) <= 2


@pytest.mark.parametrize("rate", PCM_RATES)
@pytest.mark.parametrize("hz", [200, 1000, 3400])
def test_speech_keeps_its_strength(rate: int, hz: int) -> None:
    assert abs(loudness(Resampler(AudioFormat("pcm", rate)).push(tone(rate, hz)))) < 0.5


@pytest.mark.parametrize("rate", [rate for rate in PCM_RATES if rate > 16_000])
@pytest.mark.parametrize("hz", [9_000, 10_000, 11_500])
def test_what_16_khz_cannot_hold_is_taken_away(rate: int, hz: int) -> None:
    assert loudness(Resampler(AudioFormat("pcm", rate)).push(tone(rate, hz))) < -55


@pytest.mark.parametrize("rate", [rate for rate in PCM_RATES if rate != 16_000])
def test_a_click_comes_out_a_millisecond_late(rate: int) -> None:
    samples = np.zeros(rate // 10, "<i2")
    samples[rate // 20] = 20_000
    heard = np.abs(np.frombuffer(Resampler(AudioFormat("pcm", rate)).push(samples.tobytes()), "<i2").astype(int))
    assert abs(int(heard.argmax()) - (16_000 // 20 + 16 * HALF_MS)) <= 1


@pytest.mark.parametrize("form", FORMATS, ids=str)
@given(cuts=st.lists(st.integers(0, 3000), max_size=12), seed=st.integers(0, 100))
def test_any_splitting_gives_the_same_samples(form: AudioFormat, cuts: list[int], seed: int) -> None:
    size = form.bytes_per_sample
    raw = np.random.default_rng(seed).bytes(3000 * size)
    whole = Resampler(form).push(raw)
    ends = [0, *sorted(cuts), 3000]
    parts = Resampler(form)
    assert b"".join(parts.push(raw[a * size : b * size]) for a, b in pairwise(ends)) == whole


def test_full_scale_does_not_wrap_around() -> None:
    square = np.tile(np.repeat(np.array([32767, -32768], "<i2"), 40), 100).tobytes()
    heard = np.frombuffer(Resampler(AudioFormat()).push(square), "<i2")
    flips = np.abs(np.diff(heard.astype(int)))
    assert heard.max() == 32767
    assert (flips > 60_000).sum() == 0
