"""The flags of the service and its engines."""

import pytest

from bus.errors import ConfigurationError
from bus.main import configure
from services.tts.settings import TtsSettings


def test_flags_of_service_and_engine_are_one_list() -> None:
    settings, engine = configure("tts", TtsSettings, ["--engine", "scripted", "--tone_hz", "700", "--chunk_ms", "20"])
    assert (settings.chunk_ms, settings.bind) == (20, "tcp://127.0.0.1:7704")
    assert engine.frequency_of("any") == 700


def test_flite_is_the_default_and_takes_a_voice() -> None:
    settings, _ = configure("tts", TtsSettings, ["--voice", "kal"])
    assert settings.engine == "flite"


def test_a_bad_value_ends_with_status_2_and_names_the_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        configure("tts", TtsSettings, ["--engine", "flite", "--voice", "alloy"])
    assert exit_.value.code == 2
    assert "--voice" in capsys.readouterr().err


def test_an_unknown_engine_is_refused_naming_the_known() -> None:
    with pytest.raises(ConfigurationError, match=r"espeak-ng, flite.*scripted"):
        configure("tts", TtsSettings, ["--engine", "parrot"])
