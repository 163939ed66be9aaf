"""What every engine must do, whatever it is made of."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from bus import engines
from bus.errors import ConfigurationError, InvalidRequestError
from services.tts.engine import Engine
from tests.services.tts.engines import small_models
from tests.support.openai_stub import shared_stub

PACKAGE = "services.tts.engines"
TEXT = "Hello there, this is a test."


def kokoro(folder: Path) -> dict[str, Any]:
    pytest.importorskip("kokoro_onnx", reason="kokoro-onnx is not installed (make test-engines installs it)")
    model, voices = small_models.kokoro(folder)
    return {"model": str(model), "voices": str(voices)}


def piper(folder: Path) -> dict[str, Any]:
    pytest.importorskip("piper", reason="piper-tts is not installed (make test-engines installs it)")
    return {"model": str(small_models.piper(folder, speakers={"ann": 0, "bob": 1}))}


def transformers(folder: Path) -> dict[str, Any]:
    return {"model": str(small_models.vits(folder / "mms-tts-eng", speakers=2))}


# What the engines are told that do not run as they are; the others are skipped where they are not installed.
TOLD: Final[dict[str, Callable[[Path], dict[str, Any]]]] = {
    "kokoro": kokoro,
    "openai": lambda _: {"base_url": shared_stub().base_url, "voices": "alloy,nova"},
    "piper": piper,
    "transformers": transformers,
}


@pytest.fixture(scope="module", params=engines.names(PACKAGE))
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    module: Any = engines.find(PACKAGE, request.param)
    tell = TOLD.get(request.param)
    made: Engine = module.Engine(module.Settings(**(tell(tmp_path_factory.mktemp("model")) if tell else {})))
    try:
        made.load()
    except ConfigurationError as error:
        if tell:
            raise
        pytest.skip(str(error))
    return made


def said(engine: Engine, text: str, voice: str = "", language: str = "", speed: float = 1.0) -> bytes:
    return b"".join(engine.synthesize(text, voice, language, speed))


def seconds(engine: Engine, pcm: bytes) -> float:
    return len(pcm) / 2 / engine.sample_rate


def test_a_sentence_is_heard(engine: Engine) -> None:
    samples = np.frombuffer(said(engine, TEXT), "<i2").astype(float)
    assert 1.0 < len(samples) / engine.sample_rate < 5.0
    assert np.sqrt(np.mean(samples**2)) > 300


def test_audio_comes_in_whole_samples_and_small_pieces(engine: Engine) -> None:
    pieces = list(engine.synthesize(TEXT, "", "", 1.0))
    assert len(pieces) > 5
    assert all(len(piece) % 2 == 0 for piece in pieces)


@pytest.mark.parametrize("text", ["", " ", "...", "\0", "\n"])
def test_nothing_to_say_is_next_to_nothing(engine: Engine, text: str) -> None:
    assert seconds(engine, said(engine, text)) < 0.5


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("Café, naïve, Grüße, 你好, हिन्दी, \u202e\ufeff🙂.", id="letters of all kinds"),
        pytest.param("one\0two", id="NUL"),
        pytest.param("x" * 450, id="a long word"),
        pytest.param("9" * 60, id="a long number"),
        pytest.param('%s %n \\ "\' <voice name="x"> [[h@]] &amp; \x1b[0m', id="markup of machines"),
    ],
)
def test_odd_text_is_survived_and_the_next_is_spoken(engine: Engine, text: str) -> None:
    said(engine, text, speed=4.0)
    assert seconds(engine, said(engine, TEXT)) > 1.0


def test_closing_stops_it_midway_and_the_next_is_whole(engine: Engine) -> None:
    whole = seconds(engine, said(engine, TEXT))
    for _ in range(3):
        pieces = engine.synthesize(TEXT * 20, "", "", 1.0)
        next(pieces)
        pieces.close()
        assert next(pieces, None) is None
    assert seconds(engine, said(engine, TEXT)) == pytest.approx(whole, rel=0.01)


def test_four_threads_get_what_one_gets(engine: Engine) -> None:
    texts = [TEXT, "Another sentence that is somewhat longer than the first.", "Short.", "What is seven times six?"]
    alone = {text: len(said(engine, text)) for text in texts}
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda text: (text, len(said(engine, text))), texts * 4))
    # Not to the byte: espeak-ng's flutter and flite's noise go on from one call to the next.
    assert all(length == pytest.approx(alone[text], rel=0.01) for text, length in together)


def test_speed_shortens(engine: Engine) -> None:
    normal = len(said(engine, TEXT))
    assert len(said(engine, TEXT, speed=2.0)) < 0.7 * normal
    assert len(said(engine, TEXT, speed=0.5)) > 1.5 * normal


def test_every_voice_speaks_the_engines_own_language(engine: Engine) -> None:
    for voice in engine.voices[:6]:
        assert seconds(engine, said(engine, "Yes, I do.", voice=voice, language=engine.language)) > 0.3


def test_an_unknown_voice_is_refused_naming_the_known(engine: Engine) -> None:
    with pytest.raises(InvalidRequestError, match=rf"nobody.*known: .*{engine.voices[0]}"):
        said(engine, TEXT, voice="nobody")


def test_an_unknown_language_is_refused_naming_the_known(engine: Engine) -> None:
    if not engine.languages:
        pytest.skip("speaks any language")
    with pytest.raises(InvalidRequestError, match=r"tlh.*known: "):
        said(engine, TEXT, language="tlh")
