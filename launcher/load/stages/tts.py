"""The tts alone: a text to speak whenever somebody has spoken, granted as it is played.

`latency` counts from the scheduled moment of the request to the first audio. A stutter is a piece that came after the
one before it had been played. `rtf` is measured here: how fast the first second of audio behind the first piece came.
"""

from typing import Final

from bus.frames import Frame
from launcher.load.playout import Playout
from launcher.load.schedule import Turn
from launcher.load.stages.response import Asked, ResponseSession
from launcher.load.stages.session import UNEXPECTED, stamps_of
from proto.v1 import speech_pb2 as pb

# What Realtime clients hear.
SAMPLE_RATE: Final = 24_000
# As the gateway grants: so far ahead of what is being played, looked at so often.
LEAD_MS: Final = 2_000
GRANT_EVERY_MS: Final = 250
REPLIES: Final = (
    "It is half past nine in London. Shall I tell you the time elsewhere?",
    "The sea is deeper than the highest mountains are high, and most of it is unknown.",
    "The journey takes two hours by train. The next one leaves at noon.",
    "Here is some quiet music for you; tell me when you have had enough.",
)

CONTIGUOUS: Final = "audio comes in order, without gaps and overlaps"
GRANTED: Final = "no audio goes beyond the grant"
COUNTED: Final = "synthesis_done tells how much audio there was"
WRITTEN: Final = "the texts of speech_out joined are the text"
RATED: Final = "audio has the sample rate that was asked for"
MOST_ROUNDING_MS: Final = 1
_ONE_S_MS: Final = 1_000


class TtsAsked(Asked):
    """A response and its audio."""

    def __init__(self, due_ms: float, generation: int, text: str, playout: Playout, *, expected: bool) -> None:
        super().__init__(due_ms, generation, expected=expected)
        self.text = text
        self.spoken = ""
        self.samples = 0
        self.granted_ms = LEAD_MS
        self.playout = playout
        self.first_samples = 0
        self.measured = False

    @property
    def received_ms(self) -> float:
        """Audio that came."""
        return self.samples * 1000 / SAMPLE_RATE


class TtsSession(ResponseSession):
    """One listener."""

    role = pb.TTS

    def new(self, number: int, due_ms: float, *, expected: bool) -> Asked:
        """Return a response of which nothing has come."""
        text = REPLIES[(self.visit.seat + number) % len(REPLIES)]
        return TtsAsked(due_ms, self.generation, text, Playout(self.findings), expected=expected)

    def request(self, response_id: str, asked: Asked, turn: Turn) -> None:  # noqa: ARG002 - what was said is no matter
        """Ask for the text, all of it at once."""
        assert isinstance(asked, TtsAsked)  # noqa: S101 - `new` makes no other
        request = pb.SynthesisRequest(sample_rate=SAMPLE_RATE, granted_ms=LEAD_MS, text=asked.text)
        header = self.header(response_id=response_id, generation=asked.generation)
        self.send(header, synthesis_request=request)
        self.line.clock.at(asked.due_ms + GRANT_EVERY_MS, lambda due_ms: self._grant(response_id, asked, due_ms))

    def piece(self, asked: Asked, body: str, frame: Frame, now_ms: float) -> None:
        """Take audio, or the end."""
        assert isinstance(asked, TtsAsked)  # noqa: S101 - `new` makes no other
        match body:
            case "speech_out":
                self._audio(asked, frame, now_ms)
            case "synthesis_done":
                told_ms = frame.synthesis_done.audio_ms
                if abs(told_ms - asked.received_ms) > MOST_ROUNDING_MS:
                    self.findings.breaks(COUNTED, f"{told_ms} ms, {asked.received_ms:.0f} ms came")
                if asked.spoken != asked.text:
                    self.findings.breaks(WRITTEN, f"{len(asked.spoken)} characters of {len(asked.text)}")
                self.first(asked, now_ms)
                self.end(asked, now_ms)
            case _:
                self.findings.breaks(UNEXPECTED, body)

    def _audio(self, asked: TtsAsked, frame: Frame, now_ms: float) -> None:
        said = frame.speech_out
        asked.spoken += said.text
        if not said.pcm:
            return
        if said.sample_rate != SAMPLE_RATE:
            self.findings.breaks(RATED, f"{said.sample_rate} Hz")
        if abs(said.at_ms - asked.received_ms) > MOST_ROUNDING_MS:
            self.findings.breaks(CONTIGUOUS, f"at {said.at_ms} ms, expected {asked.received_ms:.0f} ms")
        samples = len(said.pcm) // 2
        asked.samples += samples
        if asked.received_ms > asked.granted_ms + MOST_ROUNDING_MS:
            self.findings.breaks(GRANTED, f"{asked.received_ms:.0f} ms of {asked.granted_ms} ms")
        if asked.first_ms is None:
            asked.first_samples = samples
            self._waterfall(asked, frame, now_ms)
        self.first(asked, now_ms)
        asked.playout.take(samples * 1000 / SAMPLE_RATE, now_ms)
        more_ms = (asked.samples - asked.first_samples) * 1000 / SAMPLE_RATE
        if not asked.measured and more_ms >= _ONE_S_MS and asked.first_ms is not None:
            asked.measured = True
            self.findings.time("rtf", (now_ms - asked.first_ms) / more_ms)

    def _waterfall(self, asked: TtsAsked, frame: Frame, now_ms: float) -> None:
        stamps = stamps_of(frame, self.line.clock)
        started, audio = stamps.get(pb.Stamp.TTS_STARTED), stamps.get(pb.Stamp.TTS_FIRST_AUDIO)
        if started is not None and audio is not None:
            self.findings.time("stage: queue wait", started - asked.due_ms)
            self.findings.time("stage: first audio", audio - started)
            self.findings.time("stage: to gateway", now_ms - audio)

    def _grant(self, response_id: str, asked: TtsAsked, due_ms: float) -> None:
        if asked.over or self._closed_ms is not None:
            return
        if asked.first_ms is not None:
            played_ms = max(0.0, min(due_ms - asked.first_ms, asked.received_ms))
            asked.granted_ms = max(asked.granted_ms, int(played_ms) + LEAD_MS)
            header = self.header(response_id=response_id, generation=asked.generation)
            self.send(header, synthesis_grant=pb.SynthesisGrant(until_ms=asked.granted_ms))
        self.line.clock.at(due_ms + GRANT_EVERY_MS, lambda due_ms: self._grant(response_id, asked, due_ms))
