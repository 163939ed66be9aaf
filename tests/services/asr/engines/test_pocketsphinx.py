"""The embedded recogniser through the service: one worker, shared by the tests of this file."""

import asyncio
import re
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import jiwer
import pytest
import pytest_asyncio

from bus.errors import ConfigurationError
from bus.tasks import TaskHandler
from proto.v1 import speech_pb2 as pb
from services.asr.engines import pocketsphinx
from services.asr.engines.pocketsphinx import Engine, Settings, recognise
from services.asr.service import Recognition
from tests.services.asr.turns import Speaker, recording
from tests.support.bus import FakeGateway, serving
from tests.support.waiting import until

pytest.importorskip("pocketsphinx")
pytestmark = pytest.mark.asyncio(loop_scope="module")

Asr = tuple[FakeGateway, str, Engine]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def asr() -> AsyncIterator[Asr]:
    engine = Engine(Settings(workers=1))
    async with serving(TaskHandler(Recognition("pocketsphinx", engine)), engine="pocketsphinx") as (gateway, address):
        yield gateway, address, engine


def word_errors(reference: str, text: str) -> float:
    return jiwer.wer(reference, re.sub("[^a-z' ]", "", text.lower()))


async def test_it_says_what_it_is(asr: Asr) -> None:
    announcement = await asr[0].ready()
    assert announcement.model == "en-us-ptm"
    assert list(announcement.capabilities.languages) == ["en-US"]
    assert announcement.capabilities.streaming


async def test_two_people_who_speak_at_once_get_their_own_words(asr: Asr, speech: Path) -> None:
    gateway, address, _ = asr
    said = {"brooklyn": "how old is the brooklyn bridge", "lk_weather": "what is the weather in paris"}
    speakers = {name: Speaker(gateway, address, name) for name in said}
    pcm = {name: recording(speech / f"{name}.wav") for name in said}
    for begin in range(0, 64_000, 6400):
        for name, speaker in speakers.items():
            speaker.say(pcm[name][begin : begin + 6400], last=begin == 57_600)
    for _ in said:
        answer = await gateway.next("transcript")
        assert word_errors(said[answer.header.session_id], answer.transcript.text) <= 0.5
        assert answer.transcript.language == "en-US"
        assert answer.transcript.confidence > 0.0


async def test_a_cancel_frees_the_worker_and_nothing_of_the_turn_is_sent(asr: Asr, speech: Path) -> None:
    gateway, address, engine = asr
    before = len(gateway.received)
    speaker = Speaker(gateway, address, turn_id=20)
    speaker.say(recording(speech / "jfk.wav"), last=True)
    await until(lambda: engine.pool.free == 0)
    speaker.cancel()
    await until(lambda: engine.pool.free == 1)
    Speaker(gateway, address, session_id="s2").say(recording(speech / "today.wav"), last=True)
    assert (await gateway.next("transcript")).transcript.text == "today"
    assert [frame.header.session_id for _, frame in gateway.received[before:]] == ["s2"]


async def test_partials_come_while_the_person_speaks_and_their_stable_part_only_grows(
    asr: Asr, speech: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.asr.service.PARTIAL_S", 0.02)
    gateway, address, _ = asr
    before = len(gateway.received)
    pcm = recording(speech / "austen0890.wav")
    speaker = Speaker(gateway, address, turn_id=30)
    for begin in range(0, len(pcm), 3200):
        speaker.say(pcm[begin : begin + 3200], partials=True)
        await asyncio.sleep(0.03)
    await gateway.next("partial_transcript")
    speaker.say(last=True)
    await gateway.next("transcript")
    partials = [frame.partial_transcript for body, frame in gateway.received[before:] if body == "partial_transcript"]
    stable = [partial.stable for partial in partials]
    assert all(later.startswith(earlier) for earlier, later in pairwise(stable))


async def test_a_killed_worker_fails_its_turn_and_the_next_one_works(asr: Asr, speech: Path) -> None:
    gateway, address, engine = asr
    speaker = Speaker(gateway, address, turn_id=40)
    speaker.say(recording(speech / "jfk.wav"))
    await until(lambda: engine.pool.free == 0)
    for worker in engine.pool.workers:
        worker.kill()
    speaker.say(last=True)
    error = (await gateway.next("error")).error
    assert (error.code, error.retryable) == (pb.Error.ENGINE_FAILED, True)
    Speaker(gateway, address, turn_id=41).say(recording(speech / "today.wav"), last=True)
    assert (await gateway.next("transcript")).transcript.text == "today"


async def test_a_turn_too_short_for_a_word_has_an_empty_text(asr: Asr) -> None:
    gateway, address, _ = asr
    Speaker(gateway, address, turn_id=50).say(bytes(640), last=True)
    assert (await gateway.next("transcript")).transcript.text == ""


async def test_direct_recognition_gives_the_same_words_as_the_service(asr: Asr, speech: Path) -> None:
    gateway, address, _ = asr
    pcm = recording(speech / "half_an_hour.wav")
    Speaker(gateway, address, turn_id=60).say(pcm, last=True)
    assert (await gateway.next("transcript")).transcript.text == await asyncio.to_thread(recognise, pcm)


async def test_a_missing_package_is_told_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pocketsphinx, "find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match="pip install pocketsphinx"):
        await Engine(Settings(workers=1)).load()
