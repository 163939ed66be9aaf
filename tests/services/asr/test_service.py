"""The ASR service around the scripted engine, driven by frames."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from bus.errors import EngineError
from bus.frames import Header
from bus.tasks import TaskHandler
from proto.v1 import speech_pb2 as pb
from services.asr.engine import Abilities, Engine, Recognised, Request
from services.asr.engines import scripted
from services.asr.service import Recognition
from tests.services.asr.turns import Speaker, tone
from tests.support.bus import PATIENCE_S, FakeGateway, serving
from tests.support.waiting import until

Asr = tuple[FakeGateway, str]


class Slow:
    """An engine whose turns tell what becomes of them; its partials grow and its finals come when let."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.heard = asyncio.Event()
        self.asked = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.let = asyncio.Event()
        self.partials = ["how", "how old", "how old is", "how cold is it"]
        self.partial_error: Exception | None = None
        self.partial_hangs = False

    async def load(self) -> Abilities:
        return Abilities(model="slow", languages=("en-US", "de"))

    def stream(self, request: Request) -> "Slow":
        self.requests.append(request)
        return self

    async def accept(self, pcm: bytes) -> None:  # noqa: ARG002
        self.heard.set()

    async def partial(self) -> str:
        if self.partial_error is not None:
            raise self.partial_error
        self.asked.set()
        if self.partial_hangs:
            await asyncio.sleep(3600)
        return self.partials.pop(0) if self.partials else ""

    async def finish(self) -> Recognised:
        await self.let.wait()
        return Recognised("how old is it", "en-US", 0.5)

    def cancel(self) -> None:
        self.cancelled.set()

    async def stop(self) -> None:
        pass


async def patiently(event: asyncio.Event) -> None:
    """Wait for *event*, not for ever."""
    await asyncio.wait_for(event.wait(), PATIENCE_S)


def service(engine: Engine) -> TaskHandler:
    return TaskHandler(Recognition("scripted", engine))


@pytest.fixture
async def asr() -> AsyncIterator[Asr]:
    async with serving(service(scripted.Engine(scripted.Settings(canary=True)))) as running:
        yield running


@pytest.fixture
def slow() -> Slow:
    return Slow()


@pytest.fixture
async def slow_asr(slow: Slow) -> AsyncIterator[Asr]:
    async with serving(service(slow)) as running:
        yield running


async def test_a_turn_is_answered_with_its_text_ids_and_duration(asr: Asr) -> None:
    speaker = Speaker(*asr, session_id="s7", turn_id=3, at_sample=48_000)
    speaker.say(tone(440, 0.5), last=True)
    answer = await asr[0].next()
    assert answer.transcript.text == "tone 440"
    assert answer.transcript.audio_ms == 500
    assert (answer.header.session_id, answer.header.turn_id) == ("s7", 3)


async def test_the_transcript_carries_the_stamps_of_the_last_speech_and_its_own(asr: Asr) -> None:
    speaker = Speaker(*asr)
    speaker.say(tone(440, 0.1))
    speaker.header.revision = 2
    speaker.header.stamps.append(pb.Stamp(stage=pb.Stamp.VAD_DECIDED, unix_us=5))
    speaker.say(last=True)
    answer = await asr[0].next("transcript")
    assert [stamp.stage for stamp in answer.header.stamps] == [
        pb.Stamp.VAD_DECIDED,
        pb.Stamp.ASR_ENDED,
        pb.Stamp.ASR_FINAL,
    ]
    assert answer.header.revision == 2


async def test_an_empty_turn_has_an_empty_text(asr: Asr) -> None:
    Speaker(*asr).say(last=True)
    answer = await asr[0].next()
    assert answer.WhichOneof("body") == "transcript"
    assert answer.transcript.text == ""


async def test_speech_of_a_turn_that_never_began_is_answered(asr: Asr) -> None:
    Speaker(*asr).send(tone(440, 0.1), 0)
    assert (await asr[0].next()).error.code == pb.Error.UNKNOWN_SESSION


@pytest.mark.parametrize("step", [2, 320, 1022, 100_000])
async def test_the_size_of_the_frames_makes_no_difference(asr: Asr, step: int) -> None:
    Speaker(*asr).say(tone(440, 0.1 if step == 2 else 0.5), last=True, step=step)
    assert (await asr[0].next()).transcript.text == "tone 440"


async def test_sessions_that_speak_at_the_same_time_get_their_own_text(asr: Asr) -> None:
    gateway, address = asr
    hertz = range(300, 1100, 100)
    speakers = {f"s{each}": (Speaker(gateway, address, f"s{each}"), tone(each)) for each in hertz}
    for begin in range(0, 16_000, 1000):
        for speaker, pcm in speakers.values():
            speaker.say(pcm[begin : begin + 1000], last=begin == 15_000)
    answers = [await gateway.next("transcript") for _ in speakers]
    assert {answer.header.session_id: answer.transcript.text for answer in answers} == {
        f"s{each}": f"tone {each}" for each in hertz
    }


async def test_frames_out_of_order_and_sent_twice_are_put_right(asr: Asr) -> None:
    pcm = tone(440, 0.3)
    speaker = Speaker(*asr)
    speaker.say(pcm[:3200])
    speaker.send(pcm[6400:], 3200, last=True)
    speaker.send(pcm[:6400], 0)
    speaker.send(pcm[6400:], 3200, last=True)
    answer = await asr[0].next("transcript")
    assert (answer.transcript.text, answer.transcript.audio_ms) == ("tone 440", 300)


async def test_a_piece_that_never_comes_fails_the_turn(asr: Asr, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.asr.service.GAP_S", 0.05)
    speaker = Speaker(*asr)
    speaker.say(tone(440, 0.1))
    speaker.send(tone(440, 0.1), 9999, last=True)
    error = (await asr[0].next()).error
    assert "did not come" in error.message
    assert error.retryable


async def test_an_odd_byte_count_is_refused_and_the_next_turn_works(asr: Asr) -> None:
    gateway, address = asr
    Speaker(gateway, address).say(b"\0\0\0")
    assert (await gateway.next("error")).error.code == pb.Error.INVALID_REQUEST
    Speaker(gateway, address, turn_id=2).say(tone(440), last=True)
    assert (await gateway.next("transcript")).transcript.text == "tone 440"


async def test_what_is_known_of_the_turn_reaches_the_engine(slow: Slow, slow_asr: Asr) -> None:
    slow.let.set()
    Speaker(*slow_asr).say(tone(440, 0.1), last=True, language="en-GB")
    answer = await slow_asr[0].next("transcript")
    assert (answer.transcript.language, answer.transcript.confidence) == ("en-US", 0.5)
    assert slow.requests == [Request(language="en-GB")]


async def test_a_language_that_the_engine_does_not_know_is_refused(slow_asr: Asr) -> None:
    Speaker(*slow_asr).say(tone(440, 0.1), language="fr")
    error = (await slow_asr[0].next()).error
    assert (error.code, error.retryable) == (pb.Error.INVALID_REQUEST, False)


async def test_a_cancelled_turn_lets_go_of_the_engine_and_sends_nothing_more(slow: Slow, slow_asr: Asr) -> None:
    gateway, address = slow_asr
    speaker = Speaker(gateway, address)
    speaker.say(tone(440, 0.1), last=True)
    await patiently(slow.heard)
    speaker.cancel()
    await patiently(slow.cancelled)
    slow.let.set()
    Speaker(gateway, address, session_id="s2").say(last=True)
    assert (await gateway.next()).header.session_id == "s2"
    assert gateway.bodies() == ["transcript"]


async def test_closing_the_session_ends_its_turn(slow: Slow, slow_asr: Asr) -> None:
    gateway, address = slow_asr
    Speaker(gateway, address).say(tone(440, 0.1))
    await patiently(slow.heard)
    gateway.send(address, Header(session_id="s1"), session_close=pb.SessionClose())
    await patiently(slow.cancelled)
    assert gateway.bodies() == []


async def test_partials_come_with_a_stable_part_and_end_before_the_final(
    slow: Slow, slow_asr: Asr, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.asr.service.PARTIAL_S", 0.005)
    gateway, _ = slow_asr
    speaker = Speaker(*slow_asr)
    shown = []
    for _ in range(4):
        speaker.say(tone(440, 0.1), partials=True, step=3200)
        partial = (await gateway.next("partial_transcript")).partial_transcript
        shown.append((partial.stable, partial.unstable))
    assert shown == [("", "how"), ("how", "old"), ("how old", "is"), ("how old", "is it")]
    slow.let.set()
    speaker.say(last=True)
    await gateway.next("transcript")
    assert gateway.bodies() == ["partial_transcript"] * 4 + ["transcript"]


async def test_a_partial_that_hangs_delays_no_final(slow: Slow, slow_asr: Asr, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.asr.service.PARTIAL_S", 0.005)
    slow.partial_hangs = True
    slow.let.set()
    speaker = Speaker(*slow_asr)
    speaker.say(tone(440, 0.1), partials=True)
    await patiently(slow.asked)
    speaker.say(last=True)
    assert (await slow_asr[0].next()).transcript.text == "how old is it"


async def test_an_engine_that_fails_between_two_frames_fails_the_turn_at_once(
    slow: Slow, slow_asr: Asr, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.asr.service.PARTIAL_S", 0.005)
    slow.partial_error = EngineError("gone")
    Speaker(*slow_asr).say(tone(440, 0.1), partials=True)
    error = (await slow_asr[0].next()).error
    assert (error.code, error.message, error.retryable) == (pb.Error.ENGINE_FAILED, "gone", True)


async def test_no_partials_are_made_unless_they_are_wanted(
    slow: Slow, slow_asr: Asr, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.asr.service.PARTIAL_S", 0.005)
    slow.let.set()
    speaker = Speaker(*slow_asr)
    speaker.say(tone(440, 0.1))
    await patiently(slow.heard)
    await asyncio.sleep(0.02)
    speaker.say(last=True)
    await slow_asr[0].next("transcript")
    assert slow_asr[0].bodies() == ["transcript"]
    assert not slow.asked.is_set()


async def test_a_failed_turn_is_told_and_the_next_one_works() -> None:
    engine = scripted.Engine(scripted.Settings(fail_every=2))
    async with serving(service(engine)) as (gateway, address):
        answers = []
        for turn_id in range(1, 5):
            Speaker(gateway, address, turn_id=turn_id).say(tone(440, 0.1), last=True)
            answers.append((await gateway.next()).WhichOneof("body"))
        assert answers == ["transcript", "error", "transcript", "error"]


async def test_a_final_that_does_not_come_shows_in_the_age_of_the_queue(slow: Slow, slow_asr: Asr) -> None:
    gateway, address = slow_asr
    Speaker(gateway, address).say(tone(440, 0.1), last=True)
    await until(lambda: gateway.announcements[-1].queue_age_ms > 0)
    slow.let.set()
    await gateway.next("transcript")
