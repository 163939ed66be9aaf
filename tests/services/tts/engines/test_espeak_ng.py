"""eSpeak NG's own ways. The contract of all engines is in test_contract.py."""

import sys

import pytest

from bus.errors import ConfigurationError
from services.tts.engines.espeak_ng import Engine, Settings


@pytest.fixture(scope="module")
def engine() -> Engine:
    made = Engine(Settings())
    try:
        made.load()
    except ConfigurationError as error:
        pytest.skip(str(error))
    return made


def said(engine: Engine, text: str, voice: str = "", language: str = "") -> bytes:
    return b"".join(engine.synthesize(text, voice, language, 1.0))


def test_it_speaks_many_languages_and_keeps_them_apart(engine: Engine) -> None:
    assert {"de", "en-us", "fr-fr", "cmn"} <= set(engine.languages)
    english, german = len(said(engine, "Hello.")), len(said(engine, "Hello.", language="de-DE"))
    assert german < 0.9 * english
    assert len(said(engine, "Hello.", voice="f2")) > 1.02 * english
    assert len(said(engine, "Hello.")) == pytest.approx(english, rel=0.01)


@pytest.mark.parametrize("settings", [Settings(language="tlh"), Settings(voice="nobody")])
def test_an_impossible_default_is_one_line(engine: Engine, settings: Settings) -> None:
    assert engine
    with pytest.raises(ConfigurationError, match=r"choose --(language|voice) from"):
        Engine(settings).load()


def test_a_missing_package_is_one_line_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(ConfigurationError, match="pip install espeakng-loader"):
        Engine(Settings()).load()
