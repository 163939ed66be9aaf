"""What a load run says of services that are well, slow, dead, full or lying. Every kind of lie is told by its name."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bus.frames import Frame
from bus.tasks import TaskHandler
from launcher.load.findings import Findings
from launcher.load.objective import Objective
from launcher.load.report import Step
from launcher.load.schedule import Turn
from launcher.load.stages import asr, llm, session, tts, vad
from proto.v1 import speech_pb2 as pb
from services.asr.engines import scripted as asr_engine
from services.asr.service import Recognition
from services.llm.engines import scripted as llm_engine
from services.llm.service import Generation
from services.tts.engines import scripted as tts_engine
from services.tts.service import Synthesis
from services.tts.settings import Speaking
from services.vad.engines import energy
from services.vad.service import VadHandler
from tests.launcher.load.stages.crowds import FakeService, found_out, load, load_fake, schedule
from tests.support.bus import ipc_folder, serving

INTERRUPTED = (Turn(100, 200, 0), Turn(600, 200, 0, interrupts=True))


@pytest.fixture
def folder() -> Iterator[Path]:
    with ipc_folder() as made:
        yield made


def step(found: Findings) -> Step:
    made = Step(1, 1.0)
    made.take(found)
    return made


def asr_service(latency: str = "0") -> TaskHandler:
    return TaskHandler(Recognition("scripted", asr_engine.Engine(asr_engine.Settings(latency=latency))))


def llm_service(latency: str = "0") -> TaskHandler:
    settings = llm_engine.Settings(first_token_latency=latency, words=30)
    return TaskHandler(Generation("scripted", llm_engine.Engine(settings)))


def tts_service(latency: str = "0") -> TaskHandler:
    engine = tts_engine.Engine(tts_engine.Settings(latency=latency, ms_per_character=10))
    return TaskHandler(Synthesis(engine, Speaking(), "scripted"))


# -- well-behaved -----------------------------------------------------------------------------------------------------


async def test_nothing_is_wrong_with_our_vad(folder: Path) -> None:
    planned = schedule(Turn(100, 200, 0), Turn(1200, 200, 0), seats=3, length_ms=2000)
    async with serving(VadHandler(energy.Engine(energy.Settings())), engine="energy") as (_, address):
        found = await load("vad", folder, address, planned)
    assert (found.broken, found.errors) == ({}, {})
    assert (found.counts["turns"], found.counts["answered"]) == (6, 6)
    assert len(found.times["latency"]) == len(found.times["onset_to_started"]) == 6


@pytest.mark.parametrize(("role", "make"), [("asr", asr_service), ("llm", llm_service), ("tts", tts_service)])
async def test_nothing_is_wrong_with_our_services(folder: Path, role: str, make: Callable[[], TaskHandler]) -> None:
    async with serving(make()) as (_, address):
        found = await load(role, folder, address, schedule(Turn(100, 200, 0), Turn(600, 200, 0), seats=3))
    assert (found.broken, found.errors) == ({}, {})
    assert (found.counts["turns"], found.counts["answered"]) == (6, 6)
    assert any(name.startswith("stage: ") for name in found.times)


async def test_an_interrupted_voice_falls_silent(folder: Path) -> None:
    engine = tts_engine.Engine(tts_engine.Settings(ms_per_character=60))
    handler = TaskHandler(Synthesis(engine, Speaking(), "scripted"))
    async with serving(handler) as (_, address):
        found = await load("tts", folder, address, schedule(*INTERRUPTED))
    assert (found.broken, found.errors) == ({}, {})
    assert (found.counts["barge_ins"], found.counts["answered"]) == (1, 2)
    assert len(found.times["silence_after_barge_in"]) == 1


async def test_who_hangs_up_in_mid_answer_is_heard_of_no_more(folder: Path) -> None:
    planned = schedule(Turn(100, 200, 0, abandoned=True), hangs_up=True, length_ms=400)
    async with serving(tts_service()) as (_, address):
        found = await load("tts", folder, address, planned)
    assert (found.broken, found.errors) == ({}, {})
    assert found.counts["turns"] == 0


# -- slow, dead, full -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("role", "make"), [("asr", asr_service), ("llm", llm_service), ("tts", tts_service)])
async def test_a_slow_service_is_slow_in_the_report(
    folder: Path, role: str, make: Callable[[str], TaskHandler]
) -> None:
    async with serving(make("0.5")) as (_, address):
        found = await load(role, folder, address, schedule())
    assert (found.broken, found.counts["answered"]) == ({}, 1)
    assert found.times["latency"][0] >= 499
    assert "p95" in Objective(100).missed(step(found))[0]


async def test_a_service_that_falls_behind_is_asked_on_and_every_wait_is_counted(folder: Path) -> None:
    """No coordinated omission: a service that does nothing for a while is charged for all who waited meanwhile."""
    held: list[Frame] = []
    opened: list[float] = []

    def stalls(service: FakeService, body: str, frame: Frame) -> None:
        if body != "generation_request":
            return
        if not opened:
            opened.append(service.loop.time())
            service.loop.call_later(0.5, wakes, service)
        held.append(frame)

    def wakes(service: FakeService) -> None:
        for frame in held:
            service.reply(frame, generation_done=pb.GenerationDone())

    turns = tuple(Turn(100 * number, 20, 0) for number in range(5))
    found = await load_fake("llm", folder, stalls, schedule(*turns))
    # Asked every 100 ms, answered all at once after 500 ms.
    waits = sorted(found.times["latency"], reverse=True)
    assert len(waits) == 5
    assert all(wait >= 499 - 100 * place for place, wait in enumerate(waits))


@pytest.mark.parametrize("role", ["vad", "asr", "llm", "tts"])
async def test_a_dead_service_answered_nothing(folder: Path, role: str) -> None:
    found = await load(role, folder, f"ipc://{folder}/nobody.ipc", schedule(seats=2), patience_s=0.1)
    made = step(found)
    assert (made.turns, made.lost) == (2, 2)
    assert sum(found.errors.values()) == 2
    assert "nothing was answered" in Objective(100).missed(made)


@pytest.mark.parametrize("role", ["vad", "asr", "llm", "tts"])
async def test_refusals_are_no_losses_but_miss_the_objective(folder: Path, role: str) -> None:
    def full(service: FakeService, body: str, frame: Frame) -> None:
        opening = {"session_open", "generation_request", "synthesis_request"}
        if body in opening or (body == "speech" and frame.speech.HasField("recognition")):
            service.reply(frame, refusal=pb.Refusal(at_capacity=pb.AtCapacity(retry_after_ms=100)))

    made = step(await load_fake(role, folder, full))
    assert (made.lost, made.refused, made.counts["turns_refused"]) == (0, 1.0, 1)
    assert made.errors == {"refused: at capacity": 1}
    assert "1 turns refused" in Objective(100).missed(made)


async def test_errors_are_told_by_their_code(folder: Path) -> None:
    def fails(service: FakeService, body: str, frame: Frame) -> None:
        if body == "synthesis_request":
            service.reply(frame, error=pb.Error(code=pb.Error.ENGINE_FAILED, message="out of breath"))

    made = step(await load_fake("tts", folder, fails))
    assert (made.lost, made.errors) == (1, {"error: ENGINE_FAILED": 1})
    assert made.examples == ["error: ENGINE_FAILED: out of breath"]


# -- lies -------------------------------------------------------------------------------------------------------------


def transcribes(
    audio_ms: int = 1000, times: int = 1, session_id: str = "", turn_id: int = 0, stable: tuple[str, ...] = ()
) -> Callable[[FakeService, str, Frame], None]:
    def behave(service: FakeService, body: str, frame: Frame) -> None:
        if body == "speech" and frame.speech.last:
            frame.header.turn_id += turn_id
            for text in stable:
                service.reply(frame, partial_transcript=pb.PartialTranscript(stable=text))
            for _ in range(times):
                service.reply(frame, session_id, transcript=pb.Transcript(text="x", audio_ms=audio_ms))

    return behave


@pytest.mark.parametrize(
    ("behave", "promise"),
    [
        (transcribes(audio_ms=900), asr.COUNTED),
        (transcribes(times=2), session.AFTER_END),
        (transcribes(session_id="somebody-else"), session.STRANGER),
        (transcribes(turn_id=7), session.STRANGER),
        (transcribes(stable=("one two", "one")), asr.GROWS),
    ],
)
async def test_an_asr_that_lies_is_found_out(
    folder: Path, behave: Callable[[FakeService, str, Frame], None], promise: str
) -> None:
    found = await load_fake("asr", folder, behave, until=found_out)
    assert set(found.broken) == {promise}
    assert "promises broken" in " ".join(Objective(10_000).missed(step(found)))


async def test_an_asr_that_does_not_lie_is_not_blamed(folder: Path) -> None:
    assert (await load_fake("asr", folder, transcribes(stable=("one", "one two")))).broken == {}


def writes(
    seqs: tuple[int, ...] = (0, 1), deltas: int = 2, after: bool = False, wrong: str = ""
) -> Callable[[FakeService, str, Frame], None]:
    def behave(service: FakeService, body: str, frame: Frame) -> None:
        if body == "generation_request":
            frame.header.response_id += wrong
            for seq in seqs:
                service.reply(frame, text_delta=pb.TextDelta(text="word ", seq=seq))
            service.reply(frame, generation_done=pb.GenerationDone(deltas=deltas))
            if after:
                service.reply(frame, text_delta=pb.TextDelta(text="more", seq=len(seqs)))

    return behave


@pytest.mark.parametrize(
    ("behave", "promise"),
    [
        (writes(seqs=(0, 2)), llm.IN_ORDER),
        (writes(seqs=(0, 0)), llm.IN_ORDER),
        (writes(deltas=3), llm.COUNTED),
        (writes(after=True), session.AFTER_END),
        (writes(wrong="-of-another"), session.STRANGER),
    ],
)
async def test_an_llm_that_lies_is_found_out(
    folder: Path, behave: Callable[[FakeService, str, Frame], None], promise: str
) -> None:
    assert set((await load_fake("llm", folder, behave, until=found_out)).broken) == {promise}


def speaks(
    at_ms: tuple[int, ...] = (0, 100, 200), rate: int = tts.SAMPLE_RATE, audio_ms: int = 300, text: str = ""
) -> Callable[[FakeService, str, Frame], None]:
    def behave(service: FakeService, body: str, frame: Frame) -> None:
        if body != "synthesis_request":
            return
        told = text or frame.synthesis_request.text
        for place, at in enumerate(at_ms):
            pcm = bytes(tts.SAMPLE_RATE // 10 * 2)
            out = pb.SpeechOut(pcm=pcm, sample_rate=rate, at_ms=at, text=told if place == 0 else "")
            service.reply(frame, speech_out=out)
        service.reply(frame, synthesis_done=pb.SynthesisDone(audio_ms=audio_ms))

    return behave


@pytest.mark.parametrize(
    ("behave", "promises"),
    [
        (speaks(at_ms=(0, 50, 150)), {tts.CONTIGUOUS}),  # overlapping audio
        (speaks(at_ms=(0, 200, 300)), {tts.CONTIGUOUS}),  # a hole
        (speaks(audio_ms=400), {tts.COUNTED}),
        (speaks(rate=8000), {tts.RATED}),
        (speaks(text="something else"), {tts.WRITTEN}),
        (speaks(at_ms=tuple(range(0, 2500, 100)), audio_ms=2500), {tts.GRANTED}),
    ],
)
async def test_a_tts_that_lies_is_found_out(
    folder: Path, behave: Callable[[FakeService, str, Frame], None], promises: set[str]
) -> None:
    assert set((await load_fake("tts", folder, behave, until=found_out)).broken) == promises


async def test_a_tts_that_does_not_fall_silent_is_found_out(folder: Path) -> None:
    def chatters(service: FakeService, body: str, frame: Frame) -> None:
        if body == "synthesis_request":
            go_on(service, frame, 0)

    def go_on(service: FakeService, frame: Frame, at_ms: int) -> None:
        out = pb.SpeechOut(pcm=bytes(tts.SAMPLE_RATE // 10 * 2), sample_rate=tts.SAMPLE_RATE, at_ms=at_ms)
        service.reply(frame, speech_out=out)
        if at_ms < 2400:
            service.loop.call_later(0.1, go_on, service, frame, at_ms + 100)

    planned = schedule(*INTERRUPTED, length_ms=2600)
    found = await load_fake("tts", folder, chatters, planned, until=found_out)
    assert session.AFTER_END in found.broken
    assert found.times["silence_after_barge_in"][0] > 1000


class LyingVad:
    """A vad that hears the turn of the schedule, and tells of it what a test wants."""

    def __init__(
        self,
        *,
        turn_id: int = 1,
        decided_early: int = 0,
        overlap: int = 0,
        other_audio: bool = False,
        short: int = 0,
        ahead: int = 0,
    ) -> None:
        self._turn_id = turn_id
        self._ahead = ahead
        self._decided_early = decided_early
        self._overlap = overlap
        self._short = short
        self._other_audio = other_audio
        self._heard = bytearray()

    def __call__(self, service: FakeService, body: str, frame: Frame) -> None:
        """Hear; after 300 ms tell of the turn."""
        if body == "session_open":
            service.reply(frame, audio_ack=pb.AudioAck())
        if body != "audio":
            return
        before, now = len(self._heard) // 2, (len(self._heard) + len(frame.audio.pcm)) // 2
        self._heard += frame.audio.pcm
        service.reply(frame, audio_ack=pb.AudioAck(consumed_sample=now + self._ahead))
        if before < 7200 <= now:
            self._tell(service, frame, now)

    def _tell(self, service: FakeService, frame: Frame, now: int) -> None:
        frame.header.turn_id = self._turn_id
        decided = now + self._decided_early
        service.reply(frame, speech_started=pb.SpeechStarted(at_sample=0, decided_at_sample=now))
        half, end = now // 2, now
        at = half - self._overlap
        pieces = (0, bytes(self._heard[: 2 * half])), (at, bytes(self._heard[2 * at : 2 * (end - self._short)]))
        for place, (at_sample, heard) in enumerate(pieces):
            pcm = bytes(len(heard)) if self._other_audio else heard
            if place == 1:
                stopped = pb.SpeechStopped(at_sample=end, decided_at_sample=decided)
                service.reply(frame, speech_stopped=stopped)
            speech = pb.Speech(pcm=pcm, at_sample=at_sample, last=place == 1)
            service.pass_on(frame, self._turn_id, speech=speech)


@pytest.mark.parametrize(
    ("lie", "promise"),
    [
        (LyingVad(turn_id=5), vad.PAIRS),
        (LyingVad(ahead=16_000), vad.AHEAD),
        (LyingVad(decided_early=16_000), vad.AHEAD),
        (LyingVad(overlap=160), vad.CONTIGUOUS),
        (LyingVad(other_audio=True), vad.SAME),
        (LyingVad(short=320), vad.WHOLE),
    ],
)
async def test_a_vad_that_lies_is_found_out(folder: Path, lie: LyingVad, promise: str) -> None:
    found = await load_fake("vad", folder, lie, until=found_out)
    assert set(found.broken) == {promise}


async def test_a_vad_that_does_not_lie_is_not_blamed(folder: Path) -> None:
    assert (await load_fake("vad", folder, LyingVad())).broken == {}


async def test_bytes_that_are_no_frame_are_counted(folder: Path) -> None:
    def raves(service: FakeService, body: str, frame: Frame) -> None:
        if body == "generation_request":
            outbox = service._node._outboxes.get(frame.header.reply_to) or service._node._connect(frame.header.reply_to)
            assert outbox is not None
            outbox.send(b"\xff\xff nonsense")

    found = await load_fake("llm", folder, raves, patience_s=1.0)
    assert "every message is a frame with a body and a session" in found.broken
