"""Kokoro's own ways, with the real package and a model that hums. For what all engines must do: test_contract.py."""

import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bus.errors import ConfigurationError, EngineError, InvalidRequestError
from services.tts.engines.kokoro import Engine, Settings
from tests.services.tts.engines import small_models

TEXT = "Hello there."


def test_a_missing_package_is_one_line_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kokoro_onnx", None)
    with pytest.raises(ConfigurationError, match=r"pip install -r services/tts/requirements/kokoro.txt$"):
        Engine(Settings()).load()


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    pytest.importorskip("kokoro_onnx", reason="kokoro-onnx is not installed (make test-engines installs it)")
    model, voices = small_models.kokoro(tmp_path_factory.mktemp("kokoro"))
    return Settings(model=str(model), voices=str(voices), cpu_threads=1)


@pytest.fixture(scope="module")
def engine(settings: Settings) -> Engine:
    made = Engine(settings)
    made.load()
    return made


def said(engine: Engine, text: str = TEXT, voice: str = "", language: str = "", speed: float = 1.0) -> bytes:
    return b"".join(engine.synthesize(text, voice, language, speed))


def test_voices_and_their_languages_are_announced_without_those_it_cannot_read(engine: Engine) -> None:
    assert engine.voices == ["af_heart", "am_adam", "bf_emma", "ef_dora", "jf_alpha"]
    assert engine.languages == ["en-GB", "en-US", "es"]
    assert engine.language == "en-US"
    with pytest.raises(InvalidRequestError, match=r"'ja'; known: en-GB, en-US, es"):
        said(engine, language="ja")


def test_a_voice_speaks_its_own_language_and_a_language_finds_its_voice(engine: Engine) -> None:
    spanish = said(engine, "Buenos días", language="es")
    assert spanish == said(engine, "Buenos días", voice="ef_dora")
    assert spanish == said(engine, "Buenos días", voice="EF_dora", language="es-MX")
    assert spanish != said(engine, "Buenos días", voice="af_heart", language="es")
    assert len(spanish) != len(said(engine, "Buenos días", voice="ef_dora", language="en"))
    assert said(engine) == said(engine, voice="af_heart", language="en-US")


def test_a_voice_of_no_known_language_speaks_that_of_the_engine(engine: Engine) -> None:
    assert len(said(engine, voice="jf_alpha")) == len(said(engine))


def test_a_speed_it_cannot_speak_at_is_the_nearest_it_can(engine: Engine) -> None:
    assert said(engine, speed=4.0) == said(engine, speed=2.0)
    assert said(engine, speed=0.25) == said(engine, speed=0.5)


def test_closing_ends_the_run_in_the_middle(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = small_models.runs_that_wait_for_their_end(monkeypatch)
    pieces = engine.synthesize(TEXT, "", "", 1.0)
    assert next(pieces) == b""
    pieces.close()
    assert runs == ["terminated"]
    monkeypatch.undo()
    assert said(engine)


def test_nothing_that_is_said_goes_into_the_log(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    said(engine, "canary")
    assert not caplog.records


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("model", None, r"there is no kokoro model .*: name one with --model$"),
        ("model", b"no model", r"kokoro model .* cannot be loaded: .*[Pp]rotobuf"),
        ("model", b"", r"kokoro model .* cannot be loaded: "),
        ("voices", None, r"there is no file of kokoro's voices .*: name it with --voices$"),
        ("voices", b"no voices", r"voices .* cannot be loaded: "),
        ("voices", b"", r"voices .* cannot be loaded: "),
    ],
)
def test_a_file_that_is_missing_or_broken_is_one_line(
    settings: Settings, tmp_path: Path, file: str, content: bytes | None, message: str
) -> None:
    path = tmp_path / "file"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=message) as raised:
        Engine(settings.model_copy(update={file: str(path)})).load()
    assert "\n" not in str(raised.value)


def test_a_model_of_another_kind_is_one_line(settings: Settings, tmp_path: Path) -> None:
    other = small_models.piper(tmp_path)
    with pytest.raises(ConfigurationError, match=r"is no kokoro model: it takes .*'scales'.* and lacks .*'style'"):
        Engine(settings.model_copy(update={"model": str(other)})).load()


def test_voices_of_another_shape_are_one_line(settings: Settings, tmp_path: Path) -> None:
    with (tmp_path / "voices").open("wb") as file:
        np.savez(file, af_heart=np.zeros((510, 1, 12), np.float32))
    with pytest.raises(ConfigurationError, match="cannot be loaded: "):
        Engine(settings.model_copy(update={"voices": str(tmp_path / "voices")})).load()


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"voice": "nobody"}, "no voice 'nobody' .*choose from .*'af_heart'"), ({"device": "cuda"}, "--device cpu$")],
)
def test_an_impossible_setting_is_one_line(settings: Settings, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Engine(settings.model_copy(update=changed)).load()


def test_before_it_is_loaded_it_says_so() -> None:
    with pytest.raises(EngineError, match="not loaded"):
        Engine(Settings()).synthesize(TEXT, "", "", 1.0)
