"""The asr alone: turns of speech in real time, as a vad streams them; one transcript each.

`latency` counts from the scheduled moment of the turn's last piece to the transcript.
"""

from dataclasses import dataclass
from functools import partial
from typing import Final

from bus.frames import Frame
from launcher.client import BYTES_PER_MS
from launcher.load.schedule import Turn, Visit
from launcher.load.stages.session import AFTER_END, STRANGER, UNEXPECTED, Line, StageSession, stamps_of
from proto.v1 import speech_pb2 as pb

SAMPLES_PER_MS: Final = 16
# As our vad sends it.
PIECE_MS: Final = 96
# What a vad adds before and behind the words.
PADDING_MS: Final = 300
SILENCE_MS: Final = 500

COUNTED: Final = "a transcript tells how much audio it is of"
GROWS: Final = "the stable part of partial transcripts only grows"
MOST_ROUNDING_MS: Final = 1


@dataclass(slots=True)
class _Asked:
    """A turn on its way. *due_ms*: the scheduled moment of its last piece, in ms of the run."""

    begun_ms: float
    due_ms: float
    audio_ms: int
    expected: bool
    stable: str = ""
    partials: int = 0
    over: bool = False
    answered: bool = False
    refused: bool = False


class AsrSession(StageSession):
    """One speaker. Every turn is a lease of its own."""

    role = pb.ASR

    def __init__(self, line: Line, visit: Visit) -> None:
        super().__init__(line, visit)
        self._asked: dict[int, _Asked] = {}

    def speaks_ms(self, turn: Turn) -> int:
        """Return the begin: speech is streamed while it is spoken."""
        return turn.at_ms

    def turn(self, number: int, turn: Turn, due_ms: float) -> None:
        """Stream the words, the silence around them included; the gateway would not wait for the answer either."""
        pcm = self.line.phrases[turn.phrase].pcm
        pcm = bytes(PADDING_MS * BYTES_PER_MS) + pcm + bytes(SILENCE_MS * BYTES_PER_MS)
        length_ms = len(pcm) // BYTES_PER_MS
        # The padding has been spoken when the vad notices the onset: it comes with the first piece.
        ends_ms = due_ms + length_ms - PADDING_MS
        self._asked[number] = _Asked(due_ms, ends_ms, length_ms, expected=not turn.abandoned)
        self.findings.counts["opened"] += 1
        at_sample = turn.at_ms * SAMPLES_PER_MS

        def send(start: int, _: float) -> None:
            piece = pcm[start : start + PIECE_MS * BYTES_PER_MS]
            last = start + PIECE_MS * BYTES_PER_MS >= len(pcm)
            speech = pb.Speech(
                pcm=piece,
                at_sample=at_sample + start // 2,
                last=last,
                recognition=pb.Recognition(partials=True) if start == 0 else None,
            )
            if not self._asked[number].over and self._closed_ms is None:
                self.send(self.header(turn_id=number), speech=speech)

        for start in range(0, len(pcm), PIECE_MS * BYTES_PER_MS):
            spoken_ms = min(start // BYTES_PER_MS + PIECE_MS, length_ms) - PADDING_MS
            self.line.clock.at(due_ms + max(0, spoken_ms), partial(send, start))

    @property
    def settled(self) -> bool:
        """Whether every turn has its end."""
        unasked = len(self._asked) < len(self.visit.turns) and self._closed_ms is None
        return not unasked and all(asked.over or not asked.expected for asked in self._asked.values())

    def settle(self) -> None:
        """Count."""
        counts = self.findings.counts
        for asked in self._asked.values():
            if not asked.expected:
                continue
            if asked.refused:
                counts["turns_refused"] += 1
                continue
            counts["turns"] += 1
            counts["answered"] += asked.answered
            if not asked.over:
                self.findings.error("no transcript")
        self.settle_unasked(len(self._asked))
        self.close("the load is over")

    def answer(self, body: str, frame: Frame, now_ms: float) -> None:
        """Take a frame of the asr."""
        asked = self._asked.get(frame.header.turn_id)
        if asked is None:
            self.findings.breaks(STRANGER, f"{body} of turn {frame.header.turn_id}")
            return
        match body:
            case "partial_transcript":
                self._partial(asked, frame.partial_transcript.stable, now_ms)
            case "transcript":
                self._transcript(asked, frame, now_ms)
            case "refusal" | "error":
                asked.refused = body == "refusal" or asked.refused
                asked.over = self.failed(body, frame) or asked.over
            case _:
                self.findings.breaks(UNEXPECTED, body)

    def _partial(self, asked: _Asked, stable: str, now_ms: float) -> None:
        if asked.over:
            self.findings.breaks(AFTER_END, "partial_transcript")
        if not stable.startswith(asked.stable):
            self.findings.breaks(GROWS)
        asked.stable = stable
        asked.partials += 1
        self.findings.counts["partials"] += 1
        if asked.partials == 1:
            self.findings.time("first_partial", now_ms - asked.begun_ms)

    def _transcript(self, asked: _Asked, frame: Frame, now_ms: float) -> None:
        if asked.over:
            self.findings.breaks(AFTER_END, "transcript")
            return
        asked.over = asked.answered = True
        told_ms = frame.transcript.audio_ms
        if abs(told_ms - asked.audio_ms) > MOST_ROUNDING_MS:
            self.findings.breaks(COUNTED, f"{told_ms} ms of {asked.audio_ms} ms")
        self.findings.time("latency", now_ms - asked.due_ms)
        self.findings.time("audio", asked.audio_ms)
        stamps = stamps_of(frame, self.line.clock)
        ended, final = stamps.get(pb.Stamp.ASR_ENDED), stamps.get(pb.Stamp.ASR_FINAL)
        if ended is not None and final is not None:
            self.findings.time("stage: to service", ended - asked.due_ms)
            self.findings.time("stage: recognition", final - ended)
            self.findings.time("stage: to gateway", now_ms - final)
