"""Piper's own ways, with the real package and a voice that hums. The contract of all engines is in test_contract.py."""

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bus.errors import ConfigurationError, EngineError, InvalidRequestError
from services.tts.engines.piper import Engine, Settings
from tests.services.tts.engines import small_models

TEXT = "Hello there."


def test_a_missing_package_is_one_line_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "piper", None)
    with pytest.raises(ConfigurationError, match=r"pip install -r services/tts/requirements/piper.txt$"):
        Engine(Settings(model="voice.onnx")).load()


def test_without_a_voice_it_asks_for_one() -> None:
    with pytest.raises(ConfigurationError, match=r"--model VOICE.onnx$"):
        Engine(Settings()).load()


def test_the_package_is_imported_by_nothing_but_its_load() -> None:
    check = "import sys, services.tts.engines.piper as p; p.Engine(p.Settings()); sys.exit('piper' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_no_other_requirements_bring_it() -> None:
    root = Path(__file__).parents[4]
    files = [*root.glob("services/*/requirements/*.txt"), root / "pyproject.toml"]
    assert [file.name for file in files if "piper-tts" in file.read_text()] == ["piper.txt"]


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("piper", reason="piper-tts is not installed (make test-engines installs it)")
    return small_models.piper(tmp_path_factory.mktemp("piper"), speakers={"bob": 1, "ann": 0, "cid": 2})


@pytest.fixture(scope="module")
def engine(voice: Path) -> Engine:
    return loaded(voice)


def loaded(model: Path, **settings: Any) -> Engine:
    engine = Engine(Settings(model=str(model), cpu_threads=1, **settings))
    engine.load()
    return engine


def said(engine: Engine, text: str = TEXT, voice: str = "", language: str = "", speed: float = 1.0) -> bytes:
    return b"".join(engine.synthesize(text, voice, language, speed))


def test_speakers_are_voices_in_the_order_of_their_numbers(engine: Engine) -> None:
    assert engine.voices == ["ann", "bob", "cid"]
    assert engine.languages == ["en-US"]
    assert engine.sample_rate == 16_000
    assert said(engine) == said(engine, voice="ann")
    assert len({said(engine, voice=voice) for voice in engine.voices}) == 3


def test_the_speaker_of_a_request_that_names_none_can_be_set(engine: Engine, voice: Path) -> None:
    assert said(loaded(voice, voice="bob")) == said(engine, voice="bob")
    with pytest.raises(ConfigurationError, match=r"no speaker 'dan': choose from .*'ann'"):
        loaded(voice, voice="dan")


def test_a_voice_of_one_speaker_is_called_like_its_file(tmp_path: Path, voice: Path) -> None:
    assert voice
    one = loaded(small_models.piper(tmp_path))
    assert one.voices == ["en_US-hum-low"]
    assert said(one) == said(one, voice="en_us-hum-low")


def test_speakers_without_names_are_numbers(tmp_path: Path, voice: Path) -> None:
    assert voice
    numbered = loaded(small_models.piper(tmp_path, speakers={"ann": 0, "bob": 1}, speaker_id_map={}))
    assert numbered.voices == ["0", "1"]


def test_speed_is_relative_to_the_voices_own(tmp_path: Path, engine: Engine) -> None:
    slow = loaded(small_models.piper(tmp_path, inference={"length_scale": 2.0}))
    assert len(said(slow)) == pytest.approx(2 * len(said(engine)), rel=0.01)
    assert len(said(slow, speed=2.0)) == pytest.approx(len(said(engine)), rel=0.01)


def test_its_language_may_come_in_the_name_of_its_phonemes(tmp_path: Path, voice: Path) -> None:
    assert voice
    old = loaded(small_models.piper(tmp_path, language={}))
    assert old.languages == ["en-us"]
    with pytest.raises(InvalidRequestError, match="'de'; known: en-us"):
        said(old, language="de")


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
    ("content", "message"),
    [
        (None, r"there is no piper voice .*: name one with --model$"),
        (b"no model", r"piper voice .* cannot be loaded: .*[Pp]rotobuf"),
        (b"", r"piper voice .* cannot be loaded: "),
    ],
)
def test_a_voice_that_is_missing_or_broken_is_one_line(
    voice: Path, tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "voice.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=message) as raised:
        loaded(path, voice_config=f"{voice}.json")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"there is no description .*: name it with --voice_config$"),
        ("no json", "cannot be loaded: "),
        ("[]", "cannot be loaded: "),
        ("{}", "cannot be loaded: "),
        (json.dumps({"audio": 1}), "cannot be loaded: "),
    ],
)
def test_a_description_that_is_missing_or_broken_is_one_line(
    voice: Path, tmp_path: Path, content: str | None, message: str
) -> None:
    path = tmp_path / "voice.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigurationError, match=message) as raised:
        loaded(voice, voice_config=str(path))
    assert "\n" not in str(raised.value)


def test_a_model_of_another_kind_is_one_line(voice: Path, tmp_path: Path) -> None:
    other, _ = small_models.kokoro(tmp_path)
    with pytest.raises(ConfigurationError, match=r"is no piper voice: it takes .*'style'.* and lacks .*'scales'"):
        loaded(other, voice_config=f"{voice}.json")


def test_a_description_of_another_voice_is_one_line(tmp_path: Path, voice: Path) -> None:
    one = small_models.piper(tmp_path)
    with pytest.raises(ConfigurationError, match=r"cannot be loaded: .*sid"):
        loaded(one, voice_config=f"{voice}.json")


def test_before_it_is_loaded_it_says_so() -> None:
    with pytest.raises(EngineError, match="not loaded"):
        Engine(Settings()).synthesize(TEXT, "", "", 1.0)
