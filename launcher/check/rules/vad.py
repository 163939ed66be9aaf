"""What a vad owes: acknowledgements, turns in pairs, and their audio to the asr without a gap."""

import asyncio
import itertools
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from bus.frames import Frame, Header
from launcher.check.peer import Received, Session
from launcher.check.rule import VAD, BrokenRuleError, Rule, SkippedError, rule
from launcher.check.sound import RATE, silence, voice
from launcher.check.subject import Subject
from launcher.check.work import chunks, endpointing
from proto.v1 import speech_pb2 as pb

# The protocol: an acknowledgement at least every 500 ms of audio; a gateway has 4 s in flight at most.
ACK_SAMPLES: Final = RATE // 2
IN_FLIGHT: Final = 3 * RATE
PROMPT: Final = "words to expect"
FIRST_TURN: Final = 5
# A session that is not new begins here.
BEGINNING: Final = 10 * RATE
NO_SPEECH: Final = "it heard no speech in the synthetic voice; give a recording of somebody: --recording FILE.wav"


@dataclass(slots=True)
class Hearing:
    """One session with what it was told and how far: positions are samples on its clock."""

    subject: Subject
    session: Session
    at_sample: int = 0
    pcm: bytearray = field(default_factory=bytearray)
    began: int = 0

    @property
    def header(self) -> Header:
        """Return a header that names the next service."""
        header = self.subject.work.header(self.session)
        header.next = self.subject.peer.next_address
        return header

    async def open(self, how: pb.Endpointing, at_sample: int = 0, first_turn: int = 1) -> None:
        """Open the session and wait for the acknowledgement."""
        self.at_sample = self.began = at_sample
        opened = pb.SessionOpen(
            endpointing=how,
            recognition=pb.Recognition(prompt=PROMPT, partials=True),
            at_sample=at_sample,
            first_turn_id=first_turn,
        )
        self.session.send(self.header, session_open=opened)
        await self.session.next("audio_ack")

    async def say(self, pcm: bytes) -> None:
        """Send *pcm* with no more in flight than a gateway has.

        Raises:
            BrokenRuleError: what was sent is not acknowledged.
        """
        for audio in chunks(pcm, self.at_sample):
            while audio.at_sample - self.acknowledged() > IN_FLIGHT:
                await self._acknowledgement()
            self.session.send(self.header, audio=audio)
        self.pcm += pcm
        self.at_sample += len(pcm) // 2

    def acknowledged(self) -> int:
        """Return how far the service says it has heard."""
        acks = self.session.of("audio_ack")
        return acks[-1].frame.audio_ack.consumed_sample if acks else 0

    async def heard(self) -> None:
        """Wait until everything but the last 500 ms is acknowledged, and what it led to has come."""
        while self.at_sample - self.acknowledged() > ACK_SAMPLES:
            await self._acknowledgement()
        await self.subject.fence()

    async def _acknowledgement(self) -> None:
        seen = len(self.session.of("audio_ack"))
        async with asyncio.timeout(self.session.patience_s):
            while len(self.session.of("audio_ack")) == seen:
                if failed := self.session.of("error", "refusal"):
                    raise BrokenRuleError(f"{failed[0].body} instead of audio_ack")
                await self.subject.peer.arrival()

    def slice(self, begin: int, end: int) -> bytes:
        """Return the audio that was sent from *begin* to *end*."""
        return bytes(self.pcm[2 * (begin - self.began) : 2 * (end - self.began)])


@rule(VAD, says="session_open is answered at once by an audio_ack: the lease is given.")
async def acknowledges_the_opening(subject: Subject) -> str:
    """Open a session in the middle of a clock, twice."""
    async with subject.session() as session:
        hearing = Hearing(subject, session)
        await hearing.open(endpointing(), at_sample=BEGINNING)
        consumed = hearing.acknowledged()
        if consumed != BEGINNING:
            raise BrokenRuleError(f"consumed_sample is {consumed}, and no audio came after {BEGINNING}")
        await hearing.open(endpointing(silence_ms=700), at_sample=BEGINNING)
    return "and a second session_open again"


@rule(VAD, says="audio_ack comes at least every 500 ms of audio, and never ahead of what was sent.")
async def acknowledges_audio(subject: Subject) -> str:
    """Send audio and look at the positions."""
    async with subject.session() as session:
        hearing = Hearing(subject, session)
        await hearing.open(endpointing(), at_sample=BEGINNING)
        await hearing.say(silence(3.0))
        try:
            await hearing.heard()
        except TimeoutError:
            missing = (hearing.at_sample - hearing.acknowledged()) * 1000 // RATE
            raise BrokenRuleError(f"{missing} ms of audio are not acknowledged") from None
        positions = [received.frame.audio_ack.consumed_sample for received in session.of("audio_ack")]
        gaps = [later - earlier for earlier, later in itertools.pairwise(positions)]
        if min(gaps) < 0 or positions[-1] > hearing.at_sample:
            raise BrokenRuleError(f"positions {positions} go back, or beyond the {hearing.at_sample} that were sent")
        if max(gaps) > ACK_SAMPLES:
            raise BrokenRuleError(f"{max(gaps) * 1000 // RATE} ms of audio between two acknowledgements")
    return f"at most {max(gaps) * 1000 // RATE} ms of audio between two"


@rule(
    VAD, says="speech_started and speech_stopped come in pairs, with turn ids that grow by one; turns do not overlap."
)
async def starts_and_stops_pair(subject: Subject) -> str:
    """Say two utterances."""
    async with subject.session() as session:
        hearing = await _hear_two(subject, session)
        events = session.of("speech_started", "speech_stopped")
        last, turn = BEGINNING, FIRST_TURN
        for number, received in enumerate(events):
            wanted = ("speech_started", "speech_stopped")[number % 2]
            if received.body != wanted:
                raise BrokenRuleError(f"{received.body} where {wanted} of turn {turn} has to come")
            if received.frame.header.turn_id != turn:
                raise BrokenRuleError(f"{received.body} of turn {received.frame.header.turn_id}, not {turn}")
            told = getattr(received.frame, received.body)
            if not last <= told.at_sample <= told.decided_at_sample <= hearing.at_sample:
                raise BrokenRuleError(f"{received.body} at {told.at_sample}, decided at {told.decided_at_sample}")
            last, turn = told.at_sample, turn + number % 2
        if len(events) % 2:
            raise BrokenRuleError(f"turn {turn} was not stopped by a second of silence")
    return f"{len(events) // 2} turns"


@rule(VAD, says="The turn's audio goes to the asr: recognition in the first frame, no gap, `last` in the last.")
async def streams_turns_without_a_gap(subject: Subject) -> str:
    """Compare what the asr got with what was said, sample by sample."""
    async with subject.session() as session:
        hearing = await _hear_two(subject, session)
        turns = 0
        for stopped in session.of("speech_stopped"):
            turn = stopped.frame.header.turn_id
            (started,) = (one for one in session.of("speech_started") if one.frame.header.turn_id == turn)
            speech = await session.passed_on("speech", up_to=partial(_ends, turn))
            speech = [one for one in speech if one.frame.header.turn_id == turn]
            _expect_turn(subject, hearing, speech, (started, stopped))
            turns += 1
        if session.of("speech"):
            raise BrokenRuleError("speech came to the gateway, not to `next`")
    return f"{turns} turns, each sample of them as it was said"


@rule(VAD, says="After pause_ms of silence comes speech_paused; speech_resumed if the person goes on.")
async def tells_of_pauses(subject: Subject) -> str:
    """Fall silent for a moment in mid-turn."""
    async with subject.session() as session:
        hearing = Hearing(subject, session)
        await hearing.open(endpointing(pause_ms=150, silence_ms=900))
        for pcm in (silence(0.5), voice(1.0), silence(0.5), voice(1.0, seed=2), silence(1.6)):
            await hearing.say(pcm)
        await hearing.heard()
        order = [one.body for one in session.frames if one.body.startswith("speech_")]
        if not order:
            raise SkippedError(NO_SPEECH)
        wanted = ["speech_started", "speech_paused", "speech_resumed", "speech_paused", "speech_stopped"]
        if order != wanted:
            raise BrokenRuleError(f"{', '.join(order)} instead of {', '.join(wanted)}")
    return "paused, resumed, paused, stopped"


@rule(VAD, says="In MANUAL mode a turn begins with the first audio and ends where input_commit says.")
async def ends_turns_on_commit(subject: Subject) -> str:
    """Push to talk."""
    async with subject.session() as session:
        hearing = Hearing(subject, session)
        await hearing.open(endpointing(manual=True))
        await hearing.say(voice(1.0))
        session.send(hearing.header, input_commit=pb.InputCommit(at_sample=hearing.at_sample))
        stopped = await session.next("speech_stopped")
        await subject.fence()
        (started, *more) = session.of("speech_started") or [stopped]
        at = started.frame.speech_started.at_sample, stopped.frame.speech_stopped.at_sample
        if more or at != (0, hearing.at_sample):
            raise BrokenRuleError(f"the turn went from {at[0]} to {at[1]}, not from 0 to {hearing.at_sample}")
        speech = await session.passed_on("speech", up_to=partial(_ends, stopped.frame.header.turn_id))
        _expect_turn(subject, hearing, speech, (started, stopped))
        session.send(hearing.header, input_commit=pb.InputCommit(at_sample=hearing.at_sample))
        await subject.fence()
        if len(session.of("speech_stopped")) > 1:
            raise BrokenRuleError("a commit without an open turn stopped one")
    return f"from 0 to {hearing.at_sample}"


@rule(VAD, says="After input_clear the open turn is forgotten: no speech_stopped, no last speech; the next is another.")
async def forgets_turns_on_clear(subject: Subject) -> str:
    """Clear in mid-turn, then begin another."""
    async with subject.session() as session:
        hearing = Hearing(subject, session)
        await hearing.open(endpointing(manual=True))
        await hearing.say(voice(1.0))
        await session.next("speech_started")
        session.send(hearing.header, input_clear=pb.InputClear(at_sample=hearing.at_sample))
        await subject.fence()
        if session.of("speech_stopped"):
            raise BrokenRuleError("the cleared turn was ended")
        await hearing.say(voice(0.5))
        turn = (await session.next("speech_started")).frame.header.turn_id
        if turn != 2:  # noqa: PLR2004 - the one after the first
            raise BrokenRuleError(f"the turn after a cleared one has the number {turn}, not 2")
        if any(_ends(1, one.frame) for one in await session.passed_on("speech", up_to=partial(_is_of, 2))):
            raise BrokenRuleError("the cleared turn's speech was ended")
    return "no end, and the next turn is number 2"


@rule(VAD, says="Audio with an older position than expected was sent again: it is cut, and not used twice.")
async def uses_no_audio_twice(subject: Subject) -> str:
    """Send half of the audio a second time."""
    async with subject.session() as session:
        hearing = Hearing(subject, session)
        await hearing.open(endpointing(manual=True))
        await hearing.say(voice(0.5))
        for audio in chunks(hearing.slice(RATE // 4, RATE // 2), RATE // 4):
            session.send(hearing.header, audio=audio)
        await hearing.say(voice(0.5, seed=2))
        session.send(hearing.header, input_commit=pb.InputCommit(at_sample=hearing.at_sample))
        stopped = await session.next("speech_stopped")
        await subject.fence()
        speech = await session.passed_on("speech", up_to=partial(_ends, stopped.frame.header.turn_id))
        _expect_turn(subject, hearing, speech, (session.of("speech_started")[0], stopped))
    return "250 ms came twice and were heard once"


@rule(VAD, says="Half a sample is INVALID_REQUEST.")
async def refuses_half_a_sample(subject: Subject) -> str:
    """Send an odd number of bytes."""
    async with subject.session() as session:
        hearing = Hearing(subject, session)
        await hearing.open(endpointing())
        session.send(hearing.header, audio=pb.Audio(pcm=bytes(641)))
        code = (await session.next("error")).frame.error.code
        if code != pb.Error.INVALID_REQUEST:
            raise BrokenRuleError(f"{pb.Error.Code.Name(code)}, not INVALID_REQUEST")
    return "INVALID_REQUEST"


async def _hear_two(subject: Subject, session: Session) -> Hearing:
    """Say two utterances with a second of silence behind each.

    Raises:
        SkippedError: the detector hears no speech in them.
    """
    given = subject.options.recording
    hearing = Hearing(subject, session)
    await hearing.open(endpointing(), at_sample=BEGINNING, first_turn=FIRST_TURN)
    for utterance in (given or voice(1.2), given or voice(1.0, seed=2)):
        await hearing.say(silence(0.5))
        await hearing.say(utterance)
        await hearing.say(silence(1.2))
    await hearing.heard()
    if not session.of("speech_started", "speech_stopped"):
        if given:
            raise BrokenRuleError("it heard no speech in the recording")
        raise SkippedError(NO_SPEECH)
    return hearing


def _is_of(turn: int, frame: Frame) -> bool:
    return frame.header.turn_id == turn


def _ends(turn: int, frame: Frame) -> bool:
    return frame.speech.last and _is_of(turn, frame)


def _expect_turn(subject: Subject, hearing: Hearing, speech: list[Received], ends: tuple[Received, Received]) -> None:
    """Raise unless *speech* is the turn between *ends*, as the asr has to get it."""
    begin, end = ends[0].frame.speech_started.at_sample, ends[1].frame.speech_stopped.at_sample
    turn = ends[0].frame.header.turn_id
    if not speech:
        raise BrokenRuleError(f"no speech of turn {turn} came to `next`")
    at = begin
    for number, received in enumerate(speech):
        header, piece = received.frame.header, received.frame.speech
        if header.reply_to != subject.peer.address:
            raise BrokenRuleError(f"speech has reply_to {header.reply_to!r}, not the gateway's inbox")
        if piece.HasField("recognition") is (number > 0):
            raise BrokenRuleError(f"recognition is {'not ' if number == 0 else ''}in frame {number + 1} of the turn")
        if piece.last is (number < len(speech) - 1):
            raise BrokenRuleError(f"`last` is {'not ' if not piece.last else ''}set in frame {number + 1}")
        if piece.at_sample != at:
            raise BrokenRuleError(f"speech at {piece.at_sample}, and the sample before it was {at - 1}")
        at += len(piece.pcm) // 2
        if piece.pcm != hearing.slice(piece.at_sample, at):
            raise BrokenRuleError(f"speech from {piece.at_sample} to {at} is not what was said there")
    if at != end:
        raise BrokenRuleError(f"the turn's speech ends at {at}, and speech_stopped says {end}")


RULES: Final[tuple[Rule, ...]] = (
    acknowledges_the_opening,
    acknowledges_audio,
    starts_and_stops_pair,
    streams_turns_without_a_gap,
    tells_of_pauses,
    ends_turns_on_commit,
    forgets_turns_on_clear,
    uses_no_audio_twice,
    refuses_half_a_sample,
)
