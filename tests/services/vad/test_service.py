"""The vad service on the bus."""

import asyncio
import threading
import time
import wave
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from bus.errors import EngineError
from bus.frames import Frame, Header
from proto.v1 import speech_pb2 as pb
from services.vad import service as vad
from services.vad.engine import Floats, Rows
from services.vad.engines import energy, silero
from services.vad.service import VadHandler
from services.vad.session import Session
from tests.support.bus import PATIENCE_S, FakeGateway, serving

W = 512
LOUD, SILENT = b"\x00\x20\x00\xe0" * 256, bytes(2 * W)  # a window at -12 dBFS, and one of nothing

Served = tuple[FakeGateway, str]


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving(VadHandler(energy.Engine(energy.Settings())), engine="energy") as running:
        yield running


class Gated(energy.Engine):
    """Takes its first step only when `opened`, on the engine's thread; keeps the size of every step."""

    inline_windows = 0

    def __init__(self) -> None:
        super().__init__(energy.Settings())
        self._loop = asyncio.get_running_loop()
        self.entered, self.opened = asyncio.Event(), threading.Event()
        self.sizes: list[int] = []

    def step(self, windows: Floats, rows: Rows) -> Floats:
        self._loop.call_soon_threadsafe(self.entered.set)
        assert self.opened.wait(PATIENCE_S)
        assert len(set(rows.tolist())) == len(rows)
        self.sizes.append(len(rows))
        return super().step(windows, rows)

    async def open_after_all_came(self, served: Served) -> None:
        await self.entered.wait()
        send(served, "nobody", audio=pb.Audio())
        await served[0].next("error")  # so what was sent before has come too
        self.opened.set()


def send(served: Served, session_id: str = "s1", /, **body: Any) -> None:
    gateway, service = served
    gateway.send(service, Header(session_id=session_id, next=gateway.address), **body)


def open_session(served: Served, session_id: str = "s1", **endpointing: Any) -> None:
    asked = pb.Endpointing(**({"prefix_padding_ms": 300} | endpointing))
    send(served, session_id, session_open=pb.SessionOpen(endpointing=asked, first_turn_id=1))


def say(served: Served, pcm: bytes, session_id: str = "s1", chunk: int = 640) -> None:
    """Send all of *pcm* from position 0, *chunk* samples in a frame."""
    for start in range(0, len(pcm), 2 * chunk):
        send(served, session_id, audio=pb.Audio(pcm=pcm[start : start + 2 * chunk], at_sample=start // 2))


def read(path: Path) -> bytes:
    with wave.open(str(path)) as file:
        pcm: bytes = file.readframes(file.getnframes())
    return pcm


def of(served: Served, session_id: str, body: str) -> list[Frame]:
    return [frame for name, frame in served[0].received if name == body and frame.header.session_id == session_id]


async def last_speech(served: Served, session_id: str = "s1") -> bytes:
    """Wait for the end of the session's open turn; return all the speech that came."""
    while True:
        frame = await served[0].next("speech")
        if frame.speech.last and frame.header.session_id == session_id:
            return b"".join(frame.speech.pcm for frame in of(served, session_id, "speech"))


async def test_an_open_session_is_acknowledged_at_once(served: Served) -> None:
    open_session(served)
    ack = await served[0].next()
    assert ack.WhichOneof("body") == "audio_ack"
    assert ack.header.session_id == "s1"


async def test_a_turn_goes_to_the_gateway_as_events_and_to_the_recogniser_as_speech(served: Served) -> None:
    open_session(served)
    say(served, SILENT * 20 + LOUD * 10 + SILENT * 20)
    heard = await last_speech(served)
    assert heard == (SILENT * 20 + LOUD * 10 + SILENT * 16)[2 * (20 * W - 4_800) : 2 * (30 * W + 8_000)]
    (started,), (stopped,) = of(served, "s1", "speech_started"), of(served, "s1", "speech_stopped")
    assert started.speech_started.at_sample == 20 * W - 4_800
    assert stopped.speech_stopped.at_sample == 30 * W + 8_000  # 500 ms, in the middle of a window
    assert stopped.header.turn_id == 1


async def test_a_turn_ends_once_its_silence_is_complete_without_the_rest_of_a_window(served: Served) -> None:
    open_session(served)
    said = LOUD * 4 + SILENT * 15 + SILENT[: 2 * 319]
    say(served, said)
    send(served, "nobody", audio=pb.Audio())
    await served[0].next("error")
    assert of(served, "s1", "speech_stopped") == []
    send(served, audio=pb.Audio(pcm=SILENT[:2], at_sample=len(said) // 2))
    stopped = (await served[0].next("speech_stopped")).speech_stopped
    assert stopped.at_sample == stopped.decided_at_sample == 4 * W + 8_000


async def test_audio_after_a_window_that_ended_early_is_heard_from_there_on(served: Served) -> None:
    """Somebody speaks again just when the silence is nearly complete: nothing of it is lost."""
    open_session(served)
    said = LOUD * 4 + SILENT * 15 + LOUD * 5 + SILENT * 20
    say(served, said)
    heard = await last_speech(served)
    (started,), (stopped,) = of(served, "s1", "speech_started"), of(served, "s1", "speech_stopped")
    begin, end = started.speech_started.at_sample, stopped.speech_stopped.at_sample
    assert heard == said[2 * begin : 2 * end]
    assert 24 * W + 8_000 <= end < 25 * W + 8_000


async def test_a_recording_is_one_turn_with_silero(speech: Path) -> None:
    async with serving(VadHandler(silero.Engine(silero.Settings())), engine="silero") as served:
        open_session(served)
        pcm = read(speech / "mountain_view.wav") + SILENT * 40
        say(served, pcm)
        heard = await last_speech(served)
        (started,) = of(served, "s1", "speech_started")
        begin = started.speech_started.at_sample
        assert heard == pcm[2 * begin : 2 * begin + len(heard)]
        assert len(of(served, "s1", "speech_stopped")) == 1


async def test_sessions_heard_together_get_what_each_gets_alone(speech: Path) -> None:
    names = ["mountain_view.wav", "today.wav", "two_people.wav", "half_an_hour.wav", "book_a_room.wav", "brooklyn.wav"]
    recordings = {name: read(speech / name) + SILENT * 40 for name in names}
    alone = {}
    async with serving(VadHandler(silero.Engine(silero.Settings())), engine="silero") as served:
        for name, pcm in recordings.items():
            open_session(served, name)
            say(served, pcm, name)
            alone[name] = await last_speech(served, name)
    async with serving(VadHandler(silero.Engine(silero.Settings())), engine="silero") as served:
        for name in recordings:
            open_session(served, name)
        for start in range(0, max(map(len, recordings.values())), 1_000):
            for name, pcm in recordings.items():
                if chunk := pcm[start : start + 1_000]:
                    send(served, name, audio=pb.Audio(pcm=chunk, at_sample=start // 2))
        waiting = set(recordings)
        while waiting:
            frame = await served[0].next("speech")
            if frame.speech.last:
                waiting.discard(frame.header.session_id)
        for name in names:
            assert b"".join(frame.speech.pcm for frame in of(served, name, "speech")) == alone[name]


async def test_many_sessions_are_heard_in_common_steps() -> None:
    engine = Gated()
    async with serving(VadHandler(engine), engine="energy") as served:
        names = [f"s{number}" for number in range(50)]
        for name in names:
            open_session(served, name)
            say(served, LOUD * 4 + SILENT * 20, name, chunk=W * 24)
        await engine.open_after_all_came(served)
        for name in names:
            while not of(served, name, "speech_stopped"):
                await served[0].next()
    assert engine.sizes[1] == max(engine.sizes) == engine.most_windows


async def test_seconds_in_one_session_do_not_hold_up_another() -> None:
    engine = Gated()
    async with serving(VadHandler(engine), engine="energy") as served:
        open_session(served, "dump")
        open_session(served, "live")
        say(served, LOUD * 240, "dump", chunk=240 * W)
        say(served, LOUD * 4, "live", chunk=4 * W)
        await engine.open_after_all_came(served)
        while not of(served, "live", "speech_started"):
            await served[0].next()
        # Both began after two windows. The dump was not heard to its end before: that would be acknowledged.
        assert max(frame.audio_ack.consumed_sample for frame in of(served, "dump", "audio_ack")) < 240 * W
        while (await served[0].next("audio_ack")).audio_ack.consumed_sample < 240 * W:
            pass


@pytest.mark.parametrize(
    ("pcm", "code"),
    [
        pytest.param(b"123", pb.Error.INVALID_REQUEST, id="odd bytes"),
        pytest.param(bytes(2 * 16_000 * 9), pb.Error.OVERLOADED, id="nine seconds at once"),
    ],
)
async def test_bad_audio_ends_its_session_and_no_other(
    served: Served, pcm: bytes, code: pb.Error.Code.ValueType
) -> None:
    open_session(served, "good")
    open_session(served, "bad")
    send(served, "bad", audio=pb.Audio(pcm=pcm))
    error = await served[0].next("error")
    assert (error.header.session_id, error.error.code, error.error.role) == ("bad", code, pb.VAD)
    say(served, LOUD * 4, "good")
    assert (await served[0].next("speech_started")).header.session_id == "good"


async def test_audio_for_an_unknown_session_is_answered(served: Served) -> None:
    say(served, LOUD, "nobody")
    assert (await served[0].next("error")).error.code == pb.Error.UNKNOWN_SESSION


async def test_closing_gives_the_place_back_and_the_next_session_starts_afresh() -> None:
    async with serving(VadHandler(energy.Engine(energy.Settings())), engine="energy", capacity=1) as served:
        open_session(served, "first")
        say(served, LOUD * 3, "first")
        await served[0].next("speech_started")
        open_session(served, "second")
        assert (await served[0].next("refusal")).refusal.at_capacity.role == pb.VAD
        send(served, "first", session_close=pb.SessionClose())
        send(served, "first", session_close=pb.SessionClose())
        open_session(served, "second")
        say(served, SILENT * 4 + LOUD * 3, "second")
        started = await served[0].next("speech_started")
        assert (started.header.session_id, started.header.turn_id) == ("second", 1)
        assert of(served, "first", "speech_stopped") == []


@pytest.mark.parametrize("on_thread", [False, True])
@pytest.mark.parametrize("error", [EngineError("canary"), ZeroDivisionError("canary")], ids=["foreseen", "crash"])
async def test_a_failing_engine_ends_the_sessions_it_failed_and_serves_the_next(
    error: Exception, *, on_thread: bool
) -> None:
    class Failing(energy.Engine):
        inline_windows = 0 if on_thread else 32
        failing = True

        def step(self, windows: Floats, rows: Rows) -> Floats:
            if self.failing:
                raise error
            return super().step(windows, rows)

    engine = Failing(energy.Settings())
    async with serving(VadHandler(engine), engine="energy") as served:
        names = {f"s{number}" for number in range(5)}
        for name in names:
            open_session(served, name)
            say(served, LOUD, name)
        failed = {(await served[0].next("error")).header.session_id for _ in names}
        assert failed == names
        engine.failing = False
        open_session(served, "next")
        say(served, LOUD * 3, "next")
        assert (await served[0].next("speech_started")).header.session_id == "next"


async def test_a_session_closed_while_the_engine_hears_it_leaves_no_trace() -> None:
    engine = Gated()
    async with serving(VadHandler(engine), engine="energy") as served:
        for name in ("closed", "kept"):
            open_session(served, name)
            say(served, LOUD * 3, name, chunk=3 * W)
        await engine.entered.wait()
        send(served, "closed", session_close=pb.SessionClose())
        await engine.open_after_all_came(served)
        assert (await served[0].next("speech_started")).header.session_id == "kept"
        assert of(served, "closed", "speech_started") == []


async def test_a_step_that_was_put_off_gives_way_to_one_that_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    # Both would write their windows to the same place, while the engine reads them there.
    steps = []
    monkeypatch.setattr(vad, "FEW", -1)
    handler = VadHandler(energy.Engine(energy.Settings()))
    monkeypatch.setattr(handler, "_step", lambda: steps.append("step"))
    handler._loop = asyncio.get_running_loop()
    handler._began_at = handler._loop.time()
    session = cast("Session", object())
    handler._due.append(session)
    handler._schedule()
    time.sleep(2 * handler._engine.pace_s)  # noqa: ASYNC251 - the timer is due before the loop comes to what follows
    handler._due.extend([session] * handler._engine.enough_windows)
    handler._schedule()
    await asyncio.sleep(2 * handler._engine.pace_s)
    assert steps == ["step"]


@pytest.mark.parametrize("kind", ["noise", "dc", "clipping"])
async def test_no_sound_hurts(kind: str) -> None:
    random = np.random.default_rng(4)
    sounds = {
        "noise": random.integers(-32_768, 32_767, 16_000),
        "dc": np.full(16_000, 32_767),
        "clipping": np.where(random.random(16_000) > 0.5, 32_767, -32_768),
    }
    async with serving(VadHandler(silero.Engine(silero.Settings())), engine="silero") as served:
        open_session(served)
        say(served, sounds[kind].astype("<i2").tobytes())
        while (
            of(served, "s1", "audio_ack")[-1:] == [] or of(served, "s1", "audio_ack")[-1].audio_ack.consumed_sample == 0
        ):
            await served[0].next("audio_ack")
        assert of(served, "s1", "error") == []
