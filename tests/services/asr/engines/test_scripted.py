"""Known transcripts after known times."""

import asyncio

import pytest

from bus.errors import EngineError
from services.asr.engine import Recognised, Request
from services.asr.engines.scripted import Engine, Settings, tones
from tests.services.asr.turns import sines, tone


async def heard(engine: Engine, pcm: bytes, step: int = 1024) -> Recognised:
    stream = engine.stream(Request())
    for begin in range(0, len(pcm), step):
        await stream.accept(pcm[begin : begin + step])
    return await stream.finish()


async def test_every_turn_has_the_text_of_the_settings() -> None:
    assert (await heard(Engine(Settings(text="open the door")), tone(440))).text == "open the door"


async def test_nothing_heard_is_nothing_said() -> None:
    assert (await heard(Engine(Settings()), b"")).text == ""


@pytest.mark.parametrize("hertz", [200, 440, 1000, 3000, 7000])
@pytest.mark.parametrize("seconds", [0.2, 1.0, 20.0])
def test_a_tone_is_named(hertz: int, seconds: float) -> None:
    assert tones(tone(hertz, seconds)) == f"tone {hertz}"


def test_a_tone_is_named_between_silences() -> None:
    quiet = bytes(9600)
    assert tones(quiet + tone(440, 0.4, level=1000) + quiet) == "tone 440"


def test_speech_of_two_sessions_in_one_turn_shows() -> None:
    assert tones(sines([880, 440])) == "tone 440 880"
    assert tones(tone(440) + tone(600)) == "tone 440 600"


@pytest.mark.parametrize("pcm", [b"", bytes(32_000), b"\1\0" * 16_000, b"\xff\x7f" * 16_000], ids=len)
def test_silence_and_offsets_name_no_tone(pcm: bytes) -> None:
    assert tones(pcm) == ""


@pytest.mark.parametrize("step", [2, 1000, 16_000])
async def test_the_size_of_the_pieces_makes_no_difference(step: int) -> None:
    engine = Engine(Settings(canary=True))
    assert await heard(engine, tone(440), step) == await heard(engine, tone(440))


async def test_partials_grow_as_words_are_spoken() -> None:
    stream = Engine(Settings()).stream(Request())
    partials = []
    for _ in range(6):
        partials.append(await stream.partial())
        await stream.accept(tone(440, 0.34))
    assert partials == ["", "this", "this is", "this is what", "this is what you", "this is what you said"]


async def test_every_nth_turn_fails() -> None:
    engine = Engine(Settings(fail_every=3))
    outcomes = []
    for _ in range(6):
        try:
            outcomes.append((await heard(engine, tone(440))).text)
        except EngineError:
            outcomes.append("failed")
    assert outcomes == ["this is what you said", "this is what you said", "failed"] * 2


async def test_the_latency_passes_before_the_final(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    for seed in (1, 1, 2):
        await heard(Engine(Settings(latency="uniform:0.1,0.2", seed=seed)), tone(440))
    assert slept[0] == slept[1] != slept[2]
    assert 0.1 <= slept[0] <= 0.2
