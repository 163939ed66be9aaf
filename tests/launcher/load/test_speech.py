"""What the generator's people say."""

from pathlib import Path

import pytest

from launcher import recording
from launcher.errors import UsageError
from launcher.load.speech import phrases, trimmed
from tests.support.sound import silence, tone


def test_recordings_are_said_without_the_silence_around_them(tmp_path: Path) -> None:
    file = tmp_path / "word.wav"
    recording.write(file, silence(0.5) + tone(440, 0.3) + silence(0.7))
    (phrase,) = phrases("babble", [file])
    assert phrase.ms == pytest.approx(300, abs=40)


def test_silence_is_nothing_to_say(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to hear"):
        trimmed(silence(1), str(tmp_path))


def test_the_babble_is_the_same_every_time_and_each_phrase_another() -> None:
    said = phrases("babble")
    assert said == phrases("babble")
    assert len({phrase.pcm for phrase in said}) == len(said)
    assert all(900 <= phrase.ms <= 2000 for phrase in said)
