"""The TTS service driven by frames, with the scripted engine."""

import asyncio
import threading
from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from bus.frames import Frame, Header
from bus.tasks import TaskHandler
from proto.v1 import speech_pb2 as pb
from services.tts import response
from services.tts.engines import scripted
from services.tts.service import Synthesis
from services.tts.settings import Speaking
from tests.support.bus import FakeGateway, serving
from tests.support.waiting import until

ALL = 10_000_000  # ms; a grant for everything
TEXT = "Hello! The first **tone 440** is heard, I think. 🙂 And then 50% more... "


class Suite:
    """A gateway and a language model that talk to the service."""

    def __init__(self, gateway: FakeGateway, service: str) -> None:
        self.gateway = gateway
        self.service = service

    def send(self, response_id: str = "r1", stamps: list[pb.Stamp] | None = None, **body: Any) -> None:
        header = Header(session_id="s1", response_id=response_id, generation=1, stamps=stamps)
        self.gateway.send(self.service, header, **body)

    def ask(self, response_id: str = "r1", *, granted_ms: int = ALL, **request: Any) -> None:
        body = pb.SynthesisRequest(granted_ms=granted_ms, **request)
        self.send(response_id, synthesis_request=body)

    def write(self, pieces: list[str], response_id: str = "r1") -> None:
        for seq, text in enumerate(pieces):
            self.send(response_id, text_delta=pb.TextDelta(text=text, seq=seq))
        self.send(response_id, generation_done=pb.GenerationDone(deltas=len(pieces)))

    async def done(self, response_id: str = "r1") -> list[pb.SpeechOut]:
        """Wait for the end of a response; return its audio after checking what always holds."""
        while not (ends := self.frames("synthesis_done", response_id)):
            await self.gateway.next("synthesis_done")
        spoken = self.spoken(response_id)
        assert all(speech.at_ms == at for speech, at in zip(spoken, positions(spoken), strict=True))
        assert ends[0].synthesis_done.audio_ms == int(duration_ms(spoken))
        return spoken

    def frames(self, body: str, response_id: str = "r1") -> list[Frame]:
        return [frame for b, frame in self.gateway.received if b == body and frame.header.response_id == response_id]

    def spoken(self, response_id: str = "r1") -> list[pb.SpeechOut]:
        return [frame.speech_out for frame in self.frames("speech_out", response_id)]

    async def sounds(self, ms: int, response_id: str = "r1") -> None:
        """Wait until so much audio has come."""
        await until(lambda: duration_ms(self.spoken(response_id)) >= ms)

    async def error(self) -> pb.Error:
        return (await self.gateway.next("error")).error


def positions(spoken: list[pb.SpeechOut]) -> list[int]:
    """Return where each piece begins in ms if samples are counted."""
    at, found = 0, []
    for speech in spoken:
        found.append(at * 1000 // speech.sample_rate)
        at += len(speech.pcm) // 2
    return found


def duration_ms(spoken: list[pb.SpeechOut]) -> float:
    return sum(len(speech.pcm) / 2 / speech.sample_rate * 1000 for speech in spoken)


def text_of(spoken: list[pb.SpeechOut]) -> str:
    return "".join(speech.text for speech in spoken)


def tone_of(pcm: bytes, rate: int) -> float:
    samples = np.frombuffer(pcm, "<i2")
    return float(np.argmax(np.abs(np.fft.rfft(samples))) * rate / len(samples))


def clauses_made() -> float:
    return REGISTRY.get_sample_value("speech_tts_clauses_total", {"outcome": "spoken"}) or 0.0


@asynccontextmanager
async def suite(engine: Any = None, speaking: dict[str, Any] | None = None, /, **told: Any) -> AsyncIterator[Suite]:
    engine = engine or scripted.Engine(scripted.Settings(**told))
    work = Synthesis(engine, Speaking(**speaking or {}), "scripted")
    async with serving(TaskHandler(work)) as (gateway, service):
        yield Suite(gateway, service)


class Gate:
    """An engine whose every piece waits until the test lets it go."""

    sample_rate = 16000
    language = "en"
    threads = 1

    def __init__(self) -> None:
        self.voices: list[str] = []
        self.languages: list[str] = []
        self.go = threading.Semaphore(0)
        self.asked: list[str] = []
        self.closed = threading.Event()

    def load(self) -> None:
        pass

    def synthesize(self, text: str, *_: object) -> Generator[bytes, None, None]:
        self.asked.append(text)
        try:
            for _piece in range(100):
                self.go.acquire(timeout=20)
                yield np.full(640, 5000, np.int16).tobytes()
        finally:
            self.closed.set()


# -- text -------------------------------------------------------------------------------------------------------------


async def test_deltas_are_spoken_clause_by_clause_with_their_very_text() -> None:
    async with suite() as s:
        s.ask(sample_rate=24000)
        s.write(["Hel", "lo! The first ", "**tone 440** is heard, I", " think. 🙂 And then", " 50% more... "])
        spoken = await s.done()
    assert text_of(spoken) == TEXT
    assert [speech.text for speech in spoken if speech.text] == [
        "Hello! ",
        "The first **tone 440** is heard, I think. ",
        "🙂 And then 50% more... ",
    ]
    assert {speech.sample_rate for speech in spoken} == {24000}


async def test_the_text_may_come_with_the_request() -> None:
    async with suite() as s:
        s.ask(text=TEXT)
        assert text_of(await s.done()) == TEXT


async def test_text_may_overtake_its_request() -> None:
    async with suite() as s:
        s.write(["Hello ", "there."])
        await asyncio.sleep(0.05)
        assert not s.gateway.received
        s.ask()
        assert text_of(await s.done()) == "Hello there."


async def test_the_first_clause_is_spoken_before_the_text_is_complete() -> None:
    async with suite() as s:
        s.ask()
        s.send(text_delta=pb.TextDelta(text="Hello! And ", seq=0))
        speech = (await s.gateway.next("speech_out")).speech_out
        assert (speech.text, speech.at_ms) == ("Hello! ", 0)
        s.send(generation_done=pb.GenerationDone(deltas=1))
        assert text_of(await s.done()) == "Hello! And "


@pytest.mark.parametrize("pieces", [[], [""], ["🙂 ", "**"], [" \n"]], ids=repr)
async def test_what_cannot_be_spoken_is_accounted_for_without_audio(pieces: list[str]) -> None:
    async with suite() as s:
        s.ask()
        s.write(pieces)
        spoken = await s.done()
    assert text_of(spoken) == "".join(pieces)
    assert duration_ms(spoken) == 0


async def test_twice_is_once() -> None:
    async with suite() as s:
        s.ask()
        for seq in (0, 0, 1, 0, 1):
            s.send(text_delta=pb.TextDelta(text=["Hello ", "there."][seq], seq=seq))
        s.send(generation_done=pb.GenerationDone(deltas=2))
        s.ask()
        assert text_of(await s.done()) == "Hello there."


async def test_lost_text_is_a_retryable_error_and_no_end() -> None:
    async with suite() as s:
        s.ask()
        s.send(text_delta=pb.TextDelta(text="Hello there. ", seq=0))
        s.send(text_delta=pb.TextDelta(text="canary", seq=2))
        s.send(generation_done=pb.GenerationDone(deltas=3))
        error = await s.error()
        assert (error.code, error.retryable) == (pb.Error.ENGINE_FAILED, True)
        assert "canary" not in error.message
        assert not s.frames("synthesis_done")


async def test_a_gap_that_does_not_close_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.tts.response.GAP_S", 0.05)
    async with suite() as s:
        s.ask()
        s.send(text_delta=pb.TextDelta(text="late", seq=1))
        assert (await s.error()).code == pb.Error.ENGINE_FAILED


async def test_a_gap_that_closes_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.tts.response.GAP_S", 0.3)
    async with suite() as s:
        s.ask()
        for seq in (1, 0):
            s.send(text_delta=pb.TextDelta(text=["Hello ", "there."][seq], seq=seq))
        await asyncio.sleep(0.4)
        s.send(generation_done=pb.GenerationDone(deltas=2))
        assert text_of(await s.done()) == "Hello there."


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(pieces=st.lists(st.text(max_size=30) | st.sampled_from(["Hello. ", "**a**, ", "🙂", "\n", "1.5 "]), max_size=12))
async def test_the_text_spoken_is_the_text_written_whatever_it_is(pieces: list[str]) -> None:
    pieces = ["".join(c for c in piece if not "\ud800" <= c <= "\udfff") for piece in pieces]
    async with suite(ms_per_character=1) as s:
        s.ask(sample_rate=8000)
        s.write(pieces)
        assert text_of(await s.done()) == "".join(pieces)


# -- audio ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0, 8000, 16000, 22050, 24000, 48000])
async def test_audio_has_the_rate_asked_for_and_its_duration(rate: int) -> None:
    async with suite(ms_per_character=50) as s:
        s.ask(text="tone 440, please.", sample_rate=rate)
        spoken = await s.done()
    rate = rate or 16000
    assert {speech.sample_rate for speech in spoken} == {rate}
    # 9 and 7 characters of tone, and the comma's pause between them.
    assert duration_ms(spoken) == pytest.approx(9 * 50 + 100 + 7 * 50, abs=1)
    assert max(len(speech.pcm) for speech in spoken) <= 2 * (rate * 400 // 1000)
    first = b"".join(speech.pcm for speech in spoken)[: rate * 2 * 400 // 1000]
    assert tone_of(first, rate) == pytest.approx(440, abs=5)


async def test_frames_have_the_length_set() -> None:
    async with suite(None, {"chunk_ms": 20, "joined_ms": 0}) as s:
        s.ask(text="Hello there, friend.")
        assert max(len(speech.pcm) for speech in await s.done()) == 640


async def test_what_is_ready_when_its_grant_comes_leaves_in_longer_frames() -> None:
    async with suite(None, {"chunk_ms": 20, "joined_ms": 200}, ms_per_character=55) as s:
        made = clauses_made()
        s.ask(text="tone 440", granted_ms=0)
        await until(lambda: clauses_made() > made)
        s.send(synthesis_grant=pb.SynthesisGrant(until_ms=ALL))
        assert [len(speech.pcm) // 32 for speech in await s.done()] == [200, 200, 40]


async def test_pauses_follow_the_marks() -> None:
    pauses = {"sentence_pause_ms": 300, "clause_pause_ms": 200}
    async with suite(None, pauses, ms_per_character=10) as s:
        s.ask(text="Well yes, he did. So it is.")
        spoken = await s.done()
    samples = np.frombuffer(b"".join(speech.pcm for speech in spoken), "<i2")
    silent = "".join("s" if not np.any(samples[at : at + 160]) else "t" for at in range(0, len(samples), 160))
    assert [len(run) for run in silent.replace("t", " ").split()] == [
        pytest.approx(20, abs=1),
        pytest.approx(30, abs=1),
    ]
    assert len(silent) == pytest.approx(9 + 20 + 7 + 30 + 9, abs=1)


async def test_speed_and_voice_reach_the_engine() -> None:
    async with suite(ms_per_character=50) as s:
        s.ask(text="tone 440 now.", speed=2.0, voice="tone")
        assert duration_ms(await s.done()) == pytest.approx(13 * 25, abs=1)


async def test_the_first_audio_carries_the_stamps_of_the_way_here() -> None:
    async with suite() as s:
        s.ask()
        came = [pb.Stamp(stage=pb.Stamp.LLM_FIRST_TOKEN, unix_us=5)]
        s.send(text_delta=pb.TextDelta(text="Hello there. ", seq=0), stamps=came)
        s.send(text_delta=pb.TextDelta(text="More.", seq=1), stamps=came)
        s.send(generation_done=pb.GenerationDone(deltas=2))
        await s.done()
        first, *others = s.frames("speech_out")
    stages = [pb.Stamp.LLM_FIRST_TOKEN, pb.Stamp.TTS_STARTED, pb.Stamp.TTS_FIRST_AUDIO]
    assert [stamp.stage for stamp in first.header.stamps] == stages
    assert first.header.stamps[0].unix_us == 5
    assert 0 < first.header.stamps[1].unix_us <= first.header.stamps[2].unix_us
    assert [stamp for frame in others for stamp in frame.header.stamps] == []


# -- grants -----------------------------------------------------------------------------------------------------------


async def test_a_grant_holds_back_exactly() -> None:
    async with suite(ms_per_character=100) as s:
        s.ask(text="tone 440 is ten", granted_ms=110, sample_rate=24000)
        for until_ms in (110, 111, 500, 400, 1400):
            s.send(synthesis_grant=pb.SynthesisGrant(until_ms=until_ms))
            reached = max(until_ms, int(duration_ms(s.spoken())))
            await s.sounds(reached)
            await asyncio.sleep(0.03)
            assert duration_ms(s.spoken()) == reached
            assert not s.frames("synthesis_done")
        s.send(synthesis_grant=pb.SynthesisGrant(until_ms=ALL))
        assert duration_ms(await s.done()) == pytest.approx(1500, abs=1)


@pytest.mark.parametrize("text", ["Hello there.", "🙂"])
async def test_nothing_leaves_before_the_first_grant(text: str) -> None:
    async with suite() as s:
        s.ask(text=text, granted_ms=0)
        await asyncio.sleep(0.1)
        assert not s.gateway.received
        s.send(synthesis_grant=pb.SynthesisGrant(until_ms=ALL))
        assert text_of(await s.done()) == text


async def test_one_that_waits_for_a_grant_holds_no_thread() -> None:
    async with suite(None, {"threads": 1}) as s:
        s.ask("r1", text="A long answer that nobody plays yet. " * 20, granted_ms=40)
        s.ask("r2", text="Quick one.")
        assert text_of(await s.done("r2")) == "Quick one."
        assert duration_ms(s.spoken("r1")) == 40


async def test_clauses_are_made_only_so_far_ahead() -> None:
    engine = Gate()
    engine.go.release(100_000)
    async with suite(engine, {"ahead_s": 5.0}) as s:
        s.ask(text="One more sentence. " * 10, granted_ms=40)  # each makes 4 s
        await until(lambda: len(engine.asked) == 2)
        await asyncio.sleep(0.05)
        assert len(engine.asked) == 2
        s.send(synthesis_grant=pb.SynthesisGrant(until_ms=5000))
        await until(lambda: len(engine.asked) == 3)


# -- several, cancels, failures ---------------------------------------------------------------------------------------


async def test_responses_side_by_side_keep_their_own_sound() -> None:
    async with suite(ms_per_character=20) as s:
        tones = {f"r{hz}": hz for hz in (400, 600, 800, 1000, 1200)}
        for response_id in tones:
            s.ask(response_id)
        for seq in range(3):
            for response_id, hz in tones.items():
                s.send(response_id, text_delta=pb.TextDelta(text=f"Here is tone {hz}. ", seq=seq))
        for response_id, hz in tones.items():
            s.send(response_id, generation_done=pb.GenerationDone(deltas=3))
            spoken = await s.done(response_id)
            assert text_of(spoken) == f"Here is tone {hz}. " * 3
            assert tone_of(b"".join(speech.pcm for speech in spoken), 16000) == pytest.approx(hz, abs=5)


async def test_a_cancel_stops_the_engine_and_nothing_follows() -> None:
    engine = Gate()
    async with suite(engine) as s:
        s.ask(text="This is cancelled.")
        engine.go.release(5)
        await s.gateway.next("speech_out")
        s.gateway.send(s.service, Header(session_id="s1", response_id="r1", generation=2), cancel=pb.Cancel())
        while not engine.closed.is_set():  # it sees the cancel after the piece it is at
            engine.go.release()
            await asyncio.sleep(0.005)
        sent = len(s.gateway.received)
        s.gateway.send(
            s.service,
            Header(session_id="s1", response_id="r2", generation=2),
            synthesis_request=pb.SynthesisRequest(text="Yes, this one.", granted_ms=40),
        )
        engine.go.release(100_000)
        await until(lambda: len(s.gateway.received) > sent)
        assert {frame.header.response_id for _, frame in s.gateway.received[sent:]} == {"r2"}


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"sample_rate": 7999}, "sample rate 7999"),
        ({"sample_rate": 96000}, "sample rate 96000"),
        ({"voice": "alloy"}, "known: tone"),
        ({"speed": 9.0}, "speed 9"),
        ({"speed": float("nan")}, "speed nan"),
    ],
)
async def test_an_impossible_request_is_refused_and_the_next_is_served(request_: dict[str, Any], words: str) -> None:
    async with suite() as s:
        s.ask(text="Hello.", **request_)
        error = await s.error()
        assert (error.code, error.retryable) == (pb.Error.INVALID_REQUEST, False)
        assert words in error.message
        s.ask("r2", text="Hello.")
        assert text_of(await s.done("r2")) == "Hello."


async def test_a_failing_engine_is_an_error_and_no_end() -> None:
    async with suite(fail_every=2) as s:
        s.ask(text="This is fine. This fails. This is never said.")
        error = await s.error()
        assert (error.code, error.retryable) == (pb.Error.ENGINE_FAILED, True)
        assert not s.frames("synthesis_done")
        s.ask("r2", text="Fine again.")
        assert text_of(await s.done("r2")) == "Fine again."


async def test_a_crashing_engine_fails_one_response_and_tells_no_content(capsys: pytest.CaptureFixture[str]) -> None:
    class Crashing(Gate):
        def synthesize(self, text: str, *_: object) -> Generator[bytes, None, None]:
            raise ValueError(text)

    async with suite(Crashing()) as s:
        s.ask(text="Canary bird.")
        error = await s.error()
        assert error.code == pb.Error.ENGINE_FAILED
        assert error.message == "the engine failed: ValueError"
    shown = capsys.readouterr()
    assert "anary" not in shown.out + shown.err


async def test_an_engine_that_runs_away_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.tts.response.CLAUSE_AT_MOST_S", 1.0)
    async with suite(ms_per_character=1000) as s:
        s.ask(text="Hello there.")
        assert "more than 1 s of audio" in (await s.error()).message


async def test_too_much_text_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.tts.response.CHARACTERS_WAITING", 100)
    async with suite() as s:
        s.ask(text="Some words. " * 20, granted_ms=0)
        assert (await s.error()).code == pb.Error.OVERLOADED


@pytest.mark.parametrize("whole", [True, False], ids=["with the request", "as a delta"])
async def test_a_text_as_long_as_a_frame_holds_up_nobody(monkeypatch: pytest.MonkeyPatch, whole: bool) -> None:
    monkeypatch.setattr(response, "CHARACTERS_AT_ONCE", 16)  # others get their turn sixteen thousand times
    text = "Words that go on and on, " * 12_000  # more than may wait: it ends in an error, after a second or two
    async with suite(ms_per_character=1.0) as tts:
        tts.ask("long", granted_ms=0, text=text if whole else "")
        if not whole:
            tts.write([text], "long")
        tts.ask("short", text="Hello.")
        await tts.done("short")
        assert not tts.frames("error", "long")
        assert (await tts.error()).code == pb.Error.OVERLOADED


async def test_fifty_responses_at_once_all_end() -> None:
    async with suite(ms_per_character=5, latency="uniform:0,0.01") as s:
        for number in range(50):
            s.ask(f"r{number}", text=f"Number {number}, please. And more.")
        for number in range(50):
            assert text_of(await s.done(f"r{number}")) == f"Number {number}, please. And more."
