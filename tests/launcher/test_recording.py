import math
import struct
import wave
from itertools import pairwise
from pathlib import Path

import pytest

from launcher import recording
from launcher.errors import UsageError


def tone(rate: int, seconds: float = 0.5, hz: float = 440.0) -> list[float]:
    return [0.5 * math.sin(2 * math.pi * hz * i / rate) for i in range(int(rate * seconds))]


def save(path: Path, samples: list[float], rate: int, channels: int = 1, width: int = 2) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        for sample in samples:
            value = int(sample * ((1 << (8 * width - 1)) - 1))
            raw = struct.pack("<B", value + 128) if width == 1 else struct.pack("<i", value << (32 - 8 * width))
            file.writeframes((raw if width == 1 else raw[4 - width :]) * channels)
    return path


def test_a_recording_as_the_suite_wants_it_is_read_as_it_is(tmp_path: Path) -> None:
    pcm = struct.pack("<4h", 1, -2, 3, 32767)
    recording.write(tmp_path / "x.wav", pcm)
    assert recording.read(tmp_path / "x.wav") == pcm


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 48000])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_any_pcm_becomes_16_khz_mono(tmp_path: Path, rate: int, channels: int, width: int) -> None:
    pcm = recording.read(save(tmp_path / "x.wav", tone(rate), rate, channels, width))
    samples = struct.unpack(f"<{len(pcm) // 2}h", pcm)
    assert len(samples) == pytest.approx(8000, abs=2)
    crossings = sum(1 for a, b in pairwise(samples) if a < 0 <= b)
    assert crossings == pytest.approx(220, abs=2)
    middle = samples[2000:6000]
    assert max(middle) == pytest.approx(16384, rel=0.05)
    assert min(middle) == pytest.approx(-16384, rel=0.05)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gone\.wav: No such file or directory"):
        recording.read(tmp_path / "gone.wav")


@pytest.mark.parametrize("content", [b"", b"not a recording at all, but long enough", b"RIFF\x24\0\0\0WAVEfmt "])
def test_what_is_no_recording_is_one_line_that_says_how_to_make_one(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.wav").write_bytes(content)
    with pytest.raises(UsageError, match=r"not a PCM WAV file .* ffmpeg -i") as caught:
        recording.read(tmp_path / "x.wav")
    assert "\n" not in str(caught.value)


def test_a_recording_without_samples_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no audio"):
        recording.read(save(tmp_path / "x.wav", [], 16000))


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file or directory"):
        recording.write(tmp_path / "no" / "x.wav", b"")


def test_only_what_can_be_heard_is_audible() -> None:
    assert not recording.audible(b"")
    assert not recording.audible(bytes(3200))
    assert not recording.audible(struct.pack("<2h", 20, -20))
    assert recording.audible(struct.pack("<2h", 20, -5000))


def test_sound_is_found_where_it_is() -> None:
    loud, silent = struct.pack("<320h", *[9000] * 320), bytes(640)
    assert recording.sounds_end_ms(silent + loud + loud + silent) == [40, 60]
    assert recording.sounds_end_ms(silent) == []
