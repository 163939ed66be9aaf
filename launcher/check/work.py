"""How the work of each role is begun, held, finished and done, as a gateway (or the service before it) asks for it."""

import itertools
from collections.abc import Iterator
from typing import Final, Protocol

from bus.frames import Header
from launcher.check.peer import Received, Session
from launcher.check.sound import BYTES_PER_MS, silence, voice
from proto.v1 import speech_pb2 as pb

CHUNK_MS: Final = 32
CHUNK_BYTES: Final = CHUNK_MS * BYTES_PER_MS
SAMPLE_RATE: Final = 16_000
# Ten minutes: more than any text of the kit takes to be spoken.
WHOLE_MS: Final = 600_000
TEXT: Final = "Good morning. This is a test, and it ends here."
# What a model has most to say about.
QUESTION: Final = "Please tell me a long story about a lighthouse, in at least three hundred words."


class Work(Protocol):
    """One role's work. *next_address* is the inbox that stands for the next service."""

    opening: str
    """The body that takes a lease."""
    ending: str
    """The body that ends one by itself; "": none does."""

    def header(self, session: Session, *, turn: int = 1, generation: int = 0, deadline_ms: int = 0) -> Header:
        """Return the header of the *turn*-th piece of work in *session*."""
        ...

    def begin(self, session: Session, header: Header, next_address: str) -> None:
        """Take a lease for work that does not end before `finish`, where the role has such."""
        ...

    def finish(self, session: Session, header: Header) -> None:
        """Send what lets the work end."""
        ...

    async def do(self, session: Session, next_address: str, turn: int = 1) -> Received:
        """Have a small piece of work done; return the frame that shows it."""
        ...


class _Work:
    """What the work of all roles shares: ids."""

    def header(self, session: Session, *, turn: int = 1, generation: int = 0, deadline_ms: int = 0) -> Header:
        return session.header(turn_id=turn, revision=0, generation=generation, deadline_ms=deadline_ms)


class VadWork(_Work):
    """A session stays until it is closed. What shows that it is heard is an acknowledgement."""

    opening, ending = "session_open", ""

    def header(self, session: Session, *, turn: int = 1, generation: int = 0, deadline_ms: int = 0) -> Header:
        """Return a header without a turn: the vad gives turns their numbers."""
        del turn
        return session.header(generation=generation, deadline_ms=deadline_ms)

    def begin(self, session: Session, header: Header, next_address: str) -> None:
        """Open the session."""
        del next_address
        opened = pb.SessionOpen(endpointing=endpointing(), recognition=pb.Recognition(), first_turn_id=1)
        session.send(header, session_open=opened)

    def finish(self, session: Session, header: Header) -> None:
        """Send a second of silence: it is acknowledged."""
        for audio in chunks(silence(1.0)):
            session.send(header, audio=audio)

    async def do(self, session: Session, next_address: str, turn: int = 1) -> Received:
        """Open a session, have silence acknowledged."""
        header = self.header(session, turn=turn)
        self.begin(session, header, next_address)
        await session.next("audio_ack")
        self.finish(session, header)
        while (ack := await session.next("audio_ack")).frame.audio_ack.consumed_sample == 0:
            pass
        return ack


class AsrWork(_Work):
    """A turn stays until its last audio has come."""

    opening, ending = "speech", "transcript"

    def begin(self, session: Session, header: Header, next_address: str) -> None:
        """Send the beginning of a turn."""
        del next_address
        for number, audio in enumerate(chunks(voice(0.5))):
            recognition = pb.Recognition() if number == 0 else None
            session.send(header, speech=pb.Speech(pcm=audio.pcm, at_sample=audio.at_sample, recognition=recognition))

    def finish(self, session: Session, header: Header) -> None:
        """Send the end of the turn."""
        session.send(header, speech=pb.Speech(at_sample=SAMPLE_RATE // 2, last=True))

    async def do(self, session: Session, next_address: str, turn: int = 1) -> Received:
        """Have half a second recognised."""
        header = self.header(session, turn=turn)
        self.begin(session, header, next_address)
        self.finish(session, header)
        return await session.next("transcript")


class LlmWork(_Work):
    """A model cannot be made to wait: work is held only as long as the model takes."""

    opening, ending = "generation_request", "generation_done"

    def header(self, session: Session, *, turn: int = 1, generation: int = 0, deadline_ms: int = 0) -> Header:
        """Return the header of a response."""
        return _response(session, turn, generation, deadline_ms)

    def begin(self, session: Session, header: Header, next_address: str) -> None:
        """Ask for a long answer."""
        session.send(_with_next(header, next_address), generation_request=request(QUESTION))

    def finish(self, session: Session, header: Header) -> None:
        """Nothing: the model goes on by itself."""

    async def do(self, session: Session, next_address: str, turn: int = 1) -> Received:
        """Ask for a short answer."""
        header = _with_next(self.header(session, turn=turn), next_address)
        session.send(header, generation_request=request("Say hello.", most_tokens=16))
        return await session.next("generation_done")


class TtsWork(_Work):
    """A response stays until it may be heard to its end."""

    opening, ending = "synthesis_request", "synthesis_done"

    def header(self, session: Session, *, turn: int = 1, generation: int = 0, deadline_ms: int = 0) -> Header:
        """Return the header of a response."""
        return _response(session, turn, generation, deadline_ms)

    def begin(self, session: Session, header: Header, next_address: str) -> None:
        """Ask for a text to be spoken, and grant nothing."""
        del next_address
        session.send(header, synthesis_request=pb.SynthesisRequest(sample_rate=SAMPLE_RATE, text=TEXT))

    def finish(self, session: Session, header: Header) -> None:
        """Grant all of it."""
        session.send(header, synthesis_grant=pb.SynthesisGrant(until_ms=WHOLE_MS))

    async def do(self, session: Session, next_address: str, turn: int = 1) -> Received:
        """Have a word spoken."""
        del next_address
        asked = pb.SynthesisRequest(sample_rate=SAMPLE_RATE, granted_ms=WHOLE_MS, text="Hello.")
        session.send(self.header(session, turn=turn), synthesis_request=asked)
        return await session.next("synthesis_done")


WORK: Final[dict[str, Work]] = {"vad": VadWork(), "asr": AsrWork(), "llm": LlmWork(), "tts": TtsWork()}


def endpointing(*, manual: bool = False, pause_ms: int = 0, silence_ms: int = 500) -> pb.Endpointing:
    """Return usual endpointing: speech of 64 ms opens a turn, 300 ms before it belong to it."""
    return pb.Endpointing(
        mode=pb.Endpointing.MANUAL if manual else pb.Endpointing.SERVER_VAD,
        threshold=0.5,
        prefix_padding_ms=300,
        silence_duration_ms=silence_ms,
        min_speech_ms=64,
        pause_ms=pause_ms,
    )


def request(text: str, *, most_tokens: int = 0) -> pb.GenerationRequest:
    """Return what a gateway asks when the user said *text*."""
    said = pb.Message(author=pb.Message.USER, parts=[pb.Part(text=text)])
    return pb.GenerationRequest(
        instructions="You are a helpful assistant.", messages=[said], max_output_tokens=most_tokens
    )


def chunks(pcm: bytes, at_sample: int = 0) -> Iterator[pb.Audio]:
    """Yield *pcm* (16 kHz) in pieces of 32 ms with their positions, the first at *at_sample*."""
    starts = itertools.count(0, CHUNK_BYTES)
    for start in itertools.takewhile(lambda start: start < len(pcm), starts):
        yield pb.Audio(pcm=pcm[start : start + CHUNK_BYTES], at_sample=at_sample + start // 2)


def _response(session: Session, turn: int, generation: int, deadline_ms: int) -> Header:
    return session.header(
        turn_id=turn, response_id=f"r-{turn}", generation=generation, deadline_ms=deadline_ms, revision=0
    )


def _with_next(header: Header, next_address: str) -> Header:
    passing = Header()
    passing.CopyFrom(header)
    passing.next = next_address
    return passing
