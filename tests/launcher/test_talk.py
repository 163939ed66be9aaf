import argparse
import asyncio
import sys
import types
from collections.abc import Callable
from typing import Any, Self

import pytest

from launcher import talk
from launcher.errors import ConnectionFailedError, UsageError
from tests.launcher.fake_suite import TONE, events_of_a_turn, websocket_suite

PATIENCE_S = 20.0


class FakeStream:
    """A device whose thread is the test."""

    def __init__(self, *, callback: Callable[[Any, int, object, object], None], **how: Any) -> None:
        self.callback = callback
        self.how = how

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class FakeSounddevice:
    """Stands for the package."""

    class PortAudioError(Exception):
        """What it raises."""

    def __init__(self) -> None:
        self.streams: list[FakeStream] = []
        self.open = asyncio.Event()

    def RawInputStream(self, **how: Any) -> FakeStream:  # noqa: N802 - the package's name
        return self._stream(how)

    def RawOutputStream(self, **how: Any) -> FakeStream:  # noqa: N802 - the package's name
        return self._stream(how)

    def _stream(self, how: dict[str, Any]) -> FakeStream:
        if how["device"] == "none":
            raise self.PortAudioError("Error querying device -1")
        self.streams.append(FakeStream(**how))
        if len(self.streams) == 2:
            self.open.set()
        return self.streams[-1]


def told(port: int, device: str = "") -> argparse.Namespace:
    return argparse.Namespace(host="localhost", ws_port=port, input=device, output=device)


async def test_what_is_said_is_answered_through_the_loudspeakers() -> None:
    audio = FakeSounddevice()
    async with websocket_suite() as (port, heard):
        talking = asyncio.ensure_future(talk.talk(audio, told(port)))
        await asyncio.wait_for(audio.open.wait(), PATIENCE_S)
        ears, mouth = audio.streams
        assert ears.how["samplerate"] == 16000
        speech = b"\x01\x10" * 320
        for chunk in [speech, *[bytes(640)] * 6]:
            ears.callback(chunk, 320, None, None)
        played = b""
        async with asyncio.timeout(PATIENCE_S):
            while len(played) < len(TONE):
                pcm = bytearray(640)
                mouth.callback(memoryview(pcm), 320, None, None)
                played += bytes(pcm) if any(pcm) else b""
                await asyncio.sleep(0.001)
        talking.cancel()
        await asyncio.gather(talking, return_exceptions=True)
    assert played == TONE
    assert heard.pcm.startswith(speech)


async def test_an_interruption_silences_the_loudspeakers(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(turn: int) -> list[dict[str, Any]]:
        return [{}, {"type": "interrupt", "response_id": "r1", "heard_ms": 0}, *events_of_a_turn(turn)[:1]]

    audio = FakeSounddevice()
    async with websocket_suite(answer=interrupted) as (port, _):
        talking = asyncio.ensure_future(talk.talk(audio, told(port)))
        await asyncio.wait_for(audio.open.wait(), PATIENCE_S)
        ears, mouth = audio.streams
        for chunk in [b"\x01\x10" * 320, *[bytes(640)] * 6]:
            ears.callback(chunk, 320, None, None)
        shown = ""
        async with asyncio.timeout(PATIENCE_S):
            while "started at" not in shown:  # the event after the interruption
                await asyncio.sleep(0.01)
                shown += capsys.readouterr().out
        talking.cancel()
        await asyncio.gather(talking, return_exceptions=True)
    pcm = bytearray(b"\1" * len(TONE))
    mouth.callback(memoryview(pcm), len(TONE) // 2, None, None)
    assert not any(pcm)
    assert "audio" in shown


async def test_no_device_is_one_line() -> None:
    async with websocket_suite() as (port, _):
        with pytest.raises(UsageError, match="no usable sound device: Error querying device -1; choose with --input"):
            await talk.talk(FakeSounddevice(), told(port, "none"))


async def test_a_suite_that_refuses_is_its_reason() -> None:
    async with websocket_suite(refuse="not ready: asr") as (port, _):
        with pytest.raises(ConnectionFailedError, match="not ready: asr"):
            await talk.talk(FakeSounddevice(), told(port))


def test_a_missing_package_is_one_line_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(UsageError, match="-m pip install sounddevice"):
        talk.sounddevice()


def test_the_package_is_found_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    package = types.ModuleType("sounddevice")
    monkeypatch.setitem(sys.modules, "sounddevice", package)
    assert talk.sounddevice() is package


def test_the_loudspeaker_plays_in_order_then_silence_and_forgets_on_demand() -> None:
    loudspeaker = talk.Loudspeaker()
    loudspeaker.play(b"abcd")
    loudspeaker.play(b"ef")
    assert loudspeaker.take(3) == b"abc"
    assert loudspeaker.take(4) == b"def\0"
    loudspeaker.play(b"gh")
    loudspeaker.drop()
    assert loudspeaker.take(2) == b"\0\0"


def test_the_loudspeaker_is_bounded() -> None:
    loudspeaker = talk.Loudspeaker()
    loudspeaker.play(b"x" * (talk.PLAYED_BYTES + 10))
    loudspeaker.play(b"y")
    assert loudspeaker.take(talk.PLAYED_BYTES + 1) == b"x" * talk.PLAYED_BYTES + b"\0"


async def test_a_full_microphone_forgets_the_oldest() -> None:
    microphone = talk.Microphone()
    for number in range(talk.HEARD_CHUNKS + 1):
        microphone.hear(bytes([number]))
    await asyncio.sleep(0)
    assert await microphone.next() == b"\x01"
