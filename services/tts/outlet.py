"""Sends the audio of one response, as far as it is granted."""

import asyncio
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from bus.frames import answer, stamp
from bus.jobs import Job
from proto.v1 import speech_pb2 as pb
from services.tts import metrics

# Frames sent before other work of the process gets its turn: 10 s of audio can be waiting when a grant comes.
_AT_A_TIME: Final = 16


@dataclass(slots=True)
class Piece:
    """Audio for one frame, and the text of the clause that begins with it."""

    pcm: bytes
    text: str


class Outlet:
    """Audio waits here for its grant.

    The queue's bound is kept by whoever fills it: `room` says when another clause may be made (see `Response`).
    Positions are counted in samples. A piece that is granted in part is sent in part, so a grant is used to its last
    sample and a small one cannot stall a response. Before the first grant above 0 nothing leaves at all.
    Pieces of a clause that wait leave together, up to *joined_ms* in a frame: every frame costs who receives it.
    """

    def __init__(self, job: Job, sample_rate: int, granted_ms: int, joined_ms: int) -> None:
        self._job = job
        self._rate = sample_rate
        self._joined_bytes = 2 * (sample_rate * joined_ms // 1000)
        self._granted_ms = granted_ms
        self._pieces: deque[Piece] = deque()
        self._waiting_samples = 0
        self._sent_samples = 0
        self._stamps: list[pb.Stamp] = []
        self._has_audio = False
        self._complete = False
        self._changed = asyncio.Event()
        self._drained = asyncio.Event()

    @property
    def waiting_s(self) -> float:
        """Seconds of audio that are ready and not sent."""
        return self._waiting_samples / self._rate

    def grant(self, until_ms: int) -> None:
        """Allow audio up to this position. A grant never shrinks."""
        if until_ms > self._granted_ms:
            self._granted_ms = until_ms
            self._changed.set()

    def stamp(self, *stamps: pb.Stamp) -> None:
        """Keep stamps for the first frame with audio."""
        self._stamps += stamps

    def put(self, text: str, pieces: Iterable[bytes]) -> None:
        """Queue audio that begins with the clause *text*. Text without audio goes out with the audio after it."""
        for piece in pieces:
            if not self._has_audio:
                self._has_audio = True
                self._stamps.append(stamp(pb.Stamp.TTS_FIRST_AUDIO))
            self._append(Piece(piece, text))
            text = ""
        if text:
            self._append(Piece(b"", text))
        self._changed.set()

    def finish(self) -> None:
        """Tell that nothing more comes."""
        self._complete = True
        self._changed.set()

    async def room(self, ahead_s: float) -> None:
        """Wait until less than *ahead_s* of audio is waiting."""
        while self.waiting_s >= ahead_s:
            self._drained.clear()
            await self._drained.wait()

    async def deliver(self) -> int:
        """Send everything up to `finish`; return the ms of audio that were sent. Call once."""
        sent = 0
        while self._pieces or not self._complete:
            if self._send_one():
                sent += 1
                if sent % _AT_A_TIME == 0:
                    await asyncio.sleep(0)
            else:
                await self._wait()
        while not self._granted_ms:
            await self._wait()
        return self._sent_samples * 1000 // self._rate

    async def _wait(self) -> None:
        held_back = bool(self._waiting_samples)  # what is ready is not granted
        since = time.monotonic()
        self._changed.clear()
        await self._changed.wait()
        if held_back:
            metrics.GRANT_WAIT_SECONDS.inc(time.monotonic() - since)

    def _append(self, piece: Piece) -> None:
        if self._pieces and not self._pieces[-1].pcm:
            piece.text = self._pieces.pop().text + piece.text
        self._pieces.append(piece)
        self._waiting_samples += len(piece.pcm) // 2

    def _send_one(self) -> bool:
        if not self._pieces or not self._granted_ms:
            return False
        piece = self._pieces[0]
        if not piece.pcm and not self._complete:
            return False  # text that goes with the audio to come
        granted = max(0, self._granted_ms * self._rate // 1000 - self._sent_samples)
        if piece.pcm and not granted:
            return False
        self._join(piece)
        pcm, piece.pcm = piece.pcm[: 2 * granted], piece.pcm[2 * granted :]
        self._send(pcm, piece.text)
        piece.text = ""
        if not piece.pcm:
            self._pieces.popleft()
        return True

    def _join(self, first: Piece) -> None:
        pieces, parts, size = self._pieces, [first.pcm], len(first.pcm)
        while len(pieces) > 1 and not pieces[1].text and size + len(pieces[1].pcm) <= self._joined_bytes:
            parts.append(pieces[1].pcm)
            size += len(pieces[1].pcm)
            del pieces[1]
        first.pcm = b"".join(parts) if len(parts) > 1 else first.pcm

    def _send(self, pcm: bytes, text: str) -> None:
        at_ms = self._sent_samples * 1000 // self._rate
        speech = pb.SpeechOut(pcm=pcm, sample_rate=self._rate, at_ms=at_ms, text=text)
        frame = answer(self._job.header, speech_out=speech)
        if pcm:
            frame.header.stamps.extend(self._stamps)
            self._stamps = []
        samples = len(pcm) // 2
        self._sent_samples += samples
        self._waiting_samples -= samples
        metrics.AUDIO_SECONDS.inc(samples / self._rate)
        self._drained.set()
        self._job.send(self._job.reply_to, frame)
