"""The vad alone: live audio in, turns out, and the speech that it streams to an asr (which the generator is, too).

Counted from the scheduled moments of the chunks: `latency` from the one that holds the sample with which the vad says
that it knew, `end_to_stopped` from the one with the last sound, whatever the vad says.
"""

from dataclasses import dataclass
from typing import Final

from bus.frames import Frame
from launcher.client import BYTES_PER_MS
from launcher.load.schedule import Turn, Visit
from launcher.load.stages.session import UNEXPECTED, Line, StageSession, stamps_of
from proto.v1 import speech_pb2 as pb

SAMPLES_PER_MS: Final = 16
PREFIX_MS: Final = 300
SILENCE_MS: Final = 500
MIN_SPEECH_MS: Final = 64
# A detector may be so far off where the sound of a phrase really begins or ends: breath, soft consonants.
NEAR_MS: Final = 700

AHEAD: Final = "audio is acknowledged and decided on after it came"
PAIRS: Final = "turns are numbered one by one, and each start has its stop"
CONTIGUOUS: Final = "the speech of a turn has no holes and no overlaps"
SAME: Final = "speech is the audio that came"
WHOLE: Final = "the speech of a turn ends where the turn ends"


@dataclass(slots=True)
class _Open:
    """A turn that the vad has opened."""

    turn_id: int
    at_sample: int
    next_sample: int
    stopped_sample: int | None = None
    last: bool = False


class VadSession(StageSession):
    """One stream of audio."""

    role = pb.VAD

    def __init__(self, line: Line, visit: Visit) -> None:
        super().__init__(line, visit)
        self._chunk_bytes = line.chunk_ms * BYTES_PER_MS
        self._sent_samples = 0
        self._newest = 0
        self._open: _Open | None = None
        self._ended: _Open | None = None  # stopped, its last speech still to come
        self._stopped: set[int] = set()  # places of planned turns that were heard
        self._failed = False
        self._refused = False
        self._leased = False
        self._stamp = pb.Stamp(stage=pb.Stamp.GATEWAY_RECEIVED)

    def begin(self) -> None:
        """Open the session, then send a chunk whenever one has been spoken."""
        super().begin()
        clock, visit = self.line.clock, self.visit
        clock.at(visit.begins_ms, self._open_session)
        clock.at(visit.begins_ms + self.line.chunk_ms, self._tick)

    def turn(self, number: int, turn: Turn, due_ms: float) -> None:
        """Do nothing: the audio says it all."""

    @property
    def settled(self) -> bool:
        """Whether every planned turn was heard to its end."""
        expected = sum(1 for turn in self.visit.turns if not turn.abandoned)
        return self._failed or (len(self._stopped) >= expected and self._ended is None)

    def settle(self) -> None:
        """Count."""
        counts = self.findings.counts
        for place, turn in enumerate(self.visit.turns):
            if turn.abandoned:
                continue
            if self._refused:
                counts["turns_refused"] += 1
                continue
            counts["turns"] += 1
            if place in self._stopped:
                counts["answered"] += 1
            else:
                self.findings.error("no speech_stopped" if self._leased else "no answer")
        self.close("the load is over")

    def _open_session(self, _: float) -> None:
        self.findings.counts["opened"] += 1
        endpointing = pb.Endpointing(
            mode=pb.Endpointing.SERVER_VAD,
            threshold=0.5,
            prefix_padding_ms=PREFIX_MS,
            silence_duration_ms=SILENCE_MS,
            min_speech_ms=MIN_SPEECH_MS,
        )
        opening = pb.SessionOpen(endpointing=endpointing, recognition=pb.Recognition(), first_turn_id=1)
        self.send(self.header(next=self.line.peer.address), session_open=opening)

    def _tick(self, due_ms: float) -> None:
        if self._closed_ms is not None or self._failed:
            return
        pcm = self.audio(self._sent_samples, self.line.chunk_ms * SAMPLES_PER_MS)
        header = self.header(next=self.line.peer.address)
        self._stamp.unix_us = self.line.clock.unix_us(due_ms)
        header.stamps.append(self._stamp)
        self.send(header, audio=pb.Audio(pcm=pcm, at_sample=self._sent_samples))
        self._sent_samples += len(pcm) // 2
        # A microphone goes on while the last turns are awaited.
        self.line.clock.at(due_ms + self.line.chunk_ms, self._tick)

    def audio(self, at_sample: int, samples: int) -> bytes:
        """Return the visit's audio there (16 kHz s16le)."""
        begin, end = at_sample * 2, (at_sample + samples) * 2
        for turn in self.visit.turns:
            first = turn.at_ms * BYTES_PER_MS
            pcm = self.line.phrases[turn.phrase].pcm
            if begin < first + len(pcm) and end > first:
                # Turns are seconds apart: one at most reaches into a chunk.
                before = bytes(max(0, first - begin))
                inside = pcm[max(0, begin - first) : max(0, end - first)]
                return (before + inside).ljust(end - begin, b"\0")
        return bytes(end - begin)

    # -- what comes ---------------------------------------------------------------------------------------------------

    def answer(self, body: str, frame: Frame, now_ms: float) -> None:
        """Take a frame of the vad."""
        match body:
            case "audio_ack":
                self._leased = True
                if frame.audio_ack.consumed_sample > self._sent_samples:
                    self.findings.breaks(AHEAD, "audio_ack")
            case "speech":
                self._speech(frame)
            case "speech_started":
                self._speech_started(frame, now_ms)
            case "speech_stopped":
                self._speech_stopped(frame, now_ms)
            case "speech_paused" | "speech_resumed":
                pass
            case "refusal" | "error":
                self._refused = self._refused or body == "refusal"
                self._failed = self.failed(body, frame) or self._failed
            case _:
                self.findings.breaks(UNEXPECTED, body)

    def _speech_started(self, frame: Frame, now_ms: float) -> None:
        said, turn_id = frame.speech_started, frame.header.turn_id
        if turn_id != self._newest + 1 or self._open is not None:
            self.findings.breaks(PAIRS, f"start of turn {turn_id} after turn {self._newest}")
        if not said.at_sample <= said.decided_at_sample <= self._sent_samples:
            self.findings.breaks(AHEAD, "speech_started")
        self._newest = turn_id
        self._open = _Open(turn_id, said.at_sample, said.at_sample)
        place = self._planned(said.decided_at_sample // SAMPLES_PER_MS)
        if place is None:
            self.findings.counts["false_starts"] += 1
        else:
            # The chunk that holds the first sound.
            onset_ms = self.visit.begins_ms + self._due_of(self.visit.turns[place].at_ms + 1)
            self.findings.time("onset_to_started", now_ms - onset_ms)

    def _speech_stopped(self, frame: Frame, now_ms: float) -> None:
        said, opened = frame.speech_stopped, self._open
        if opened is None or frame.header.turn_id != opened.turn_id:
            self.findings.breaks(PAIRS, f"stop of turn {frame.header.turn_id}")
            return
        if not opened.at_sample <= said.at_sample <= said.decided_at_sample <= self._sent_samples:
            self.findings.breaks(AHEAD, "speech_stopped")
        opened.stopped_sample = said.at_sample
        self._open, self._ended = None, opened
        decided_ms = said.decided_at_sample // SAMPLES_PER_MS
        place = self._planned(decided_ms)
        if place is None or place in self._stopped:
            self.findings.counts["split"] += 1
            return
        turn = self.visit.turns[place]
        self._stopped.add(place)
        if decided_ms < turn.end_ms:
            self.findings.counts["cut_short"] += 1
        due_ms = self.visit.begins_ms + self._due_of(decided_ms)
        self.findings.time("latency", now_ms - due_ms)
        self.findings.time("end_to_stopped", now_ms - self.visit.begins_ms - self._due_of(turn.end_ms))
        stamps = stamps_of(frame, self.line.clock)
        if (decided := stamps.get(pb.Stamp.VAD_DECIDED)) is not None:
            self.findings.time("stage: to decision", decided - due_ms)
            self.findings.time("stage: to gateway", now_ms - decided)

    def _speech(self, frame: Frame) -> None:
        said, turn_id = frame.speech, frame.header.turn_id
        turns = (turn for turn in (self._open, self._ended) if turn is not None)
        turn = next((turn for turn in turns if turn.turn_id == turn_id), None)
        if turn is None:
            self.findings.breaks(PAIRS, f"speech of turn {turn_id}")
            return
        samples = len(said.pcm) // 2
        if said.at_sample != turn.next_sample:
            self.findings.breaks(CONTIGUOUS, f"at {said.at_sample}, expected {turn.next_sample}")
        if said.pcm != self.audio(said.at_sample, samples):
            self.findings.breaks(SAME, f"{samples} samples at {said.at_sample}")
        turn.next_sample = said.at_sample + samples
        if said.last:
            if turn.stopped_sample is not None and samples and turn.next_sample != turn.stopped_sample:
                self.findings.breaks(WHOLE, f"{turn.next_sample}, stopped at {turn.stopped_sample}")
            self._ended = None

    def _planned(self, at_ms: int) -> int | None:
        """Return the place of the planned turn that is heard at *at_ms*."""
        for place, turn in enumerate(self.visit.turns):
            if turn.at_ms <= at_ms <= turn.end_ms + SILENCE_MS + NEAR_MS:
                return place
        return None

    def _due_of(self, at_ms: float) -> int:
        """Return when the chunk leaves that holds the audio before *at_ms*, in ms of the visit."""
        chunk_ms = self.line.chunk_ms
        return -(-round(at_ms) // chunk_ms) * chunk_ms
