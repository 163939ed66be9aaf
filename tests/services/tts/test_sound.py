"""Silence trimmed, rates changed, pieces of one length."""

import numpy as np
import pytest

from services.tts.sound import LEAD_MS, TAIL_MS, Samples, Sound, Trim


def tone(rate: int, ms: int, amplitude: int = 8000) -> Samples:
    at = np.arange(rate * ms // 1000)
    wave: Samples = (amplitude * np.sin(2 * np.pi * 440 / rate * at)).astype(np.int16)
    return wave


def silence(rate: int, ms: int) -> Samples:
    return np.zeros(rate * ms // 1000, np.int16)


def trimmed(samples: Samples, step: int) -> Samples:
    trim = Trim(16000)
    pieces = [trim.push(samples[at : at + step]) for at in range(0, len(samples), step)]
    return np.concatenate([*pieces, trim.end()])


@pytest.mark.parametrize("step", [1, 160, 320, 1000, 100_000])
def test_silence_around_a_clause_goes_and_silence_inside_stays(step: int) -> None:
    parts = [silence(16000, 190), tone(16000, 300), silence(16000, 200), tone(16000, 300), silence(16000, 150)]
    samples = np.concatenate(parts)
    first_loud = int(np.flatnonzero(np.abs(samples.astype(int)) > 256)[0])
    last_loud = int(np.flatnonzero(np.abs(samples.astype(int)) > 256)[-1])
    wanted = samples[first_loud - 16 * LEAD_MS : last_loud + 1 + 16 * TAIL_MS]
    assert np.array_equal(trimmed(samples, step), wanted)


def test_silence_alone_is_nothing() -> None:
    assert len(trimmed(silence(16000, 500), 320)) == 0


def test_one_clause_leaves_nothing_to_the_next() -> None:
    trim = Trim(16000)
    for _ in range(2):
        got = np.concatenate([trim.push(silence(16000, 100)), trim.push(tone(16000, 100)), trim.end()])
        assert 16 * 100 <= len(got) <= 16 * (100 + LEAD_MS)


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 24000, 44100, 48000])
@pytest.mark.parametrize("step", [160, 12345])
def test_a_resampled_clause_has_its_duration_and_its_tone(rate: int, step: int) -> None:
    sound = Sound(16000, rate, 40)
    pcm = tone(16000, 500).tobytes()
    pieces: list[bytes] = []
    for at in range(0, len(pcm), 2 * step):
        pieces += sound.push(pcm[at : at + 2 * step])
    pieces += sound.end()
    samples = np.frombuffer(b"".join(pieces), "<i2")
    assert abs(len(samples) - rate // 2) <= 1
    assert all(len(piece) == 2 * (rate * 40 // 1000) for piece in pieces[:-1])
    spectrum = np.abs(np.fft.rfft(samples))
    assert np.argmax(spectrum) * rate / len(samples) == pytest.approx(440, abs=3)


def test_pieces_do_not_click() -> None:
    sound = Sound(16000, 24000, 40)
    pcm = tone(16000, 500).tobytes()
    pieces = [piece for at in range(0, len(pcm), 320) for piece in sound.push(pcm[at : at + 320])] + sound.end()
    samples = np.frombuffer(b"".join(pieces), "<i2").astype(int)
    # A 440 Hz tone of amplitude 8000 moves at most 2*pi*440/24000*8000 = 922 from sample to sample.
    assert np.max(np.abs(np.diff(samples[200:-200]))) < 950


def test_a_pause_is_exact() -> None:
    pieces = Sound(16000, 24000, 40).pause(250)
    assert b"".join(pieces) == bytes(2 * 6000)
    assert max(map(len, pieces)) == 2 * 960
