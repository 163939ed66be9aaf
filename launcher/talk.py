"""`speech-to-speech talk`: talk to a running suite by microphone and loudspeakers, full duplex."""

import argparse
import asyncio
import contextlib
import sys
import threading
from typing import Any, Final

from launcher.client import BYTES_PER_MS, CHUNK_MS, SAMPLE_RATE, Audio, Event, WebSocketClient, connect_websocket
from launcher.errors import ConnectionFailedError, UsageError
from launcher.exchange import Exchange
from launcher.timeline import timeline

# What the microphone heard and the suite has not taken yet: 1 s, then the oldest is dropped.
HEARD_CHUNKS: Final = 1000 // CHUNK_MS
# What the loudspeakers have still to play: the suite runs ahead a fraction of a second; more than this is dropped.
PLAYED_BYTES: Final = 30_000 * BYTES_PER_MS


def main(args: list[str]) -> int:
    """Talk until Ctrl-C."""
    told = _parser().parse_args(args)
    audio = sounddevice()
    if told.devices:
        print(audio.query_devices())
        return 0
    print("Speak; Ctrl-C ends. Without headphones the suite may hear itself: run it with --half_duplex then.\n")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(talk(audio, told))
    return 0


def sounddevice() -> Any:
    """Import the library for sound devices.

    Raises:
        UsageError: it is not there; names the command that installs it.
    """
    try:
        import sounddevice as audio
    except ImportError as error:
        raise UsageError(
            f"talk needs a package for sound devices: {sys.executable} -m pip install sounddevice"
        ) from error
    except OSError as error:  # the library that the package wraps
        raise UsageError(f"talk needs PortAudio ({error}): apt-get install libportaudio2") from error
    return audio


class Loudspeaker:
    """What is to be played: filled by the event loop, emptied by the device's thread. Holds `PLAYED_BYTES` at most."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pcm = bytearray()

    def play(self, pcm: bytes) -> None:
        """Queue *pcm*; what does not fit is dropped."""
        with self._lock:
            self._pcm += pcm[: max(0, PLAYED_BYTES - len(self._pcm))]

    def drop(self) -> None:
        """Forget what has not been played."""
        with self._lock:
            self._pcm.clear()

    def take(self, size: int) -> bytes:
        """Return the next *size* bytes, silence where there are none."""
        with self._lock:
            pcm = bytes(self._pcm[:size])
            del self._pcm[:size]
        return pcm.ljust(size, b"\0")


class Microphone:
    """What was heard: filled by the device's thread, emptied by the event loop. Full, it forgets the oldest."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._chunks: asyncio.Queue[bytes] = asyncio.Queue(HEARD_CHUNKS)

    def hear(self, pcm: bytes) -> None:
        """Take a chunk, on any thread."""
        self._loop.call_soon_threadsafe(self._put, pcm)

    async def next(self) -> bytes:
        """Return the oldest chunk."""
        return await self._chunks.get()

    def _put(self, pcm: bytes) -> None:
        if self._chunks.full():
            self._chunks.get_nowait()
        self._chunks.put_nowait(pcm)


async def talk(audio: Any, told: argparse.Namespace) -> None:
    """Carry sound both ways until cancelled.

    Raises:
        UsageError: there is no microphone or no loudspeaker, or it cannot do 16 kHz.
        ConnectionFailedError: there is no suite, or it ended.
    """
    microphone, loudspeaker = Microphone(), Loudspeaker()

    def heard(pcm: Any, _frames: int, _time: object, _status: object) -> None:
        microphone.hear(bytes(pcm))

    def wanted(pcm: Any, _frames: int, _time: object, _status: object) -> None:
        pcm[:] = loudspeaker.take(len(pcm))

    how = {"samplerate": SAMPLE_RATE, "channels": 1, "dtype": "int16", "blocksize": CHUNK_MS * SAMPLE_RATE // 1000}
    async with await connect_websocket(told.host, told.ws_port) as client:
        try:
            ears = audio.RawInputStream(callback=heard, device=told.input, **how)
            mouth = audio.RawOutputStream(callback=wanted, device=told.output, **how)
        except (audio.PortAudioError, ValueError) as error:
            raise UsageError(
                f"no usable sound device: {error}; choose with --input and --output (--devices lists)"
            ) from error
        with ears, mouth, timeline() as shown:
            exchange = Exchange(
                shown.show, events=True, begun_s=asyncio.get_running_loop().time(), sounds_ms=[], keep_audio=False
            )
            await _carry(client, microphone, loudspeaker, exchange)


async def _carry(client: WebSocketClient, microphone: Microphone, loudspeaker: Loudspeaker, exchange: Exchange) -> None:
    async def speak() -> None:
        while True:
            await client.send(await microphone.next())

    async def hear() -> None:
        while True:
            item = await client.receive()
            exchange.take(item)
            match item:
                case Audio():
                    loudspeaker.play(item.pcm)
                case Event(kind="interrupt"):
                    loudspeaker.drop()

    failed: BaseException | None = None
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(speak())
            tasks.create_task(hear())
    except* ConnectionFailedError as group:
        failed = group.exceptions[0]
    if failed is not None:  # raised outside: Python 3.11.2 makes a group of what is raised in there
        raise failed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="speech-to-speech talk",
        description="Talk to a running suite (--mode websocket) by microphone and loudspeakers.",
        allow_abbrev=False,
    )
    parser.add_argument("--host", default="localhost", help="where the suite runs (default: %(default)s)")
    parser.add_argument("--ws_port", type=int, default=8765, help="its WebSocket port (default: %(default)s)")
    parser.add_argument("--input", type=_device, help="microphone: a number or a part of its name")
    parser.add_argument("--output", type=_device, help="loudspeakers: a number or a part of their name")
    parser.add_argument("--devices", action="store_true", help="list the devices and exit")
    return parser


def _device(text: str) -> int | str:
    return int(text) if text.isdigit() else text
