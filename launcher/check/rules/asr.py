"""What an asr owes: one transcript of each turn, of all of its audio, and partials that hold what they said."""

import asyncio
import itertools
from typing import Final

from launcher.check.rule import ASR, BrokenRuleError, Rule, SkippedError, rule
from launcher.check.sound import BYTES_PER_MS, RATE, voice
from launcher.check.subject import Subject
from launcher.check.work import CHUNK_BYTES, CHUNK_MS, chunks
from proto.v1 import speech_pb2 as pb

# Partials are asked for every 300 to 500 ms: two seconds, in real time, bring some.
SPOKEN_S: Final = 2.0
# Nothing follows a transcript for so long.
WATCHED_S: Final = 0.3


@rule(ASR, says="A turn is answered with one Transcript, whose audio_ms is its duration, and nothing comes after it.")
async def answers_with_one_transcript(subject: Subject) -> str:
    """Say one turn that begins late on the clock."""
    pcm = subject.options.recording or voice(1.5)
    async with subject.session() as session:
        header, begin = subject.work.header(session), 60 * RATE
        pieces = list(chunks(pcm, begin))
        for number, audio in enumerate(pieces):
            recognition = pb.Recognition(language="") if number == 0 else None
            last = number == len(pieces) - 1
            speech = pb.Speech(pcm=audio.pcm, at_sample=audio.at_sample, recognition=recognition, last=last)
            session.send(header, speech=speech)
        found = (await session.next("transcript")).frame.transcript
        wanted_ms = len(pcm) // BYTES_PER_MS
        if abs(found.audio_ms - wanted_ms) > 1:
            raise BrokenRuleError(f"audio_ms is {found.audio_ms}, the turn had {wanted_ms} ms")
        await subject.quiet(WATCHED_S)
        after = session.frames[-1]
        if after.body != "transcript" or len(session.of("transcript")) > 1:
            raise BrokenRuleError(f"{after.body} after the transcript")
        if session.of("partial_transcript"):
            raise BrokenRuleError("partials came, and nobody asked for them")
    return f"{found.audio_ms} ms of audio, {len(found.text)} characters"


@rule(ASR, says="Pieces of a turn go by position: what was used is ignored, what comes early waits.")
async def puts_audio_in_order(subject: Subject) -> str:
    """Send pieces twice, and in the wrong order."""
    pcm = voice(CHUNK_MS * 10 / 1000)
    async with subject.session() as session:
        header = subject.work.header(session)
        pieces = list(chunks(pcm))
        for place in (0, 2, 1, 1, 3, 5, 4, 0, 6, 7, 8):
            audio = pieces[place]
            recognition = pb.Recognition() if place == 0 else None
            speech = pb.Speech(pcm=audio.pcm, at_sample=audio.at_sample, recognition=recognition)
            session.send(header, speech=speech)
        last = pieces[9]
        session.send(header, speech=pb.Speech(pcm=last.pcm, at_sample=last.at_sample, last=True))
        found = (await session.next("transcript")).frame.transcript
        wanted_ms = 10 * CHUNK_BYTES // BYTES_PER_MS
        if abs(found.audio_ms - wanted_ms) > 1:
            raise BrokenRuleError(f"audio_ms is {found.audio_ms}; the turn had {wanted_ms} ms, in ten pieces")
    return f"{wanted_ms} ms in ten pieces, three of them early, two of them twice"


@rule(ASR, says="`stable` of the partials grows by appending only, and no partial comes after the transcript.")
async def partials_only_grow(subject: Subject) -> str:
    """Say a turn in real time, with partials wanted."""
    async with subject.session() as session:
        header = subject.work.header(session)
        pcm = subject.options.recording or voice(SPOKEN_S)
        for number, audio in enumerate(chunks(pcm)):
            recognition = pb.Recognition(partials=True) if number == 0 else None
            speech = pb.Speech(pcm=audio.pcm, at_sample=audio.at_sample, recognition=recognition)
            session.send(header, speech=speech)
            await asyncio.sleep(CHUNK_MS / 1000)
        session.send(header, speech=pb.Speech(at_sample=len(pcm) // 2, last=True))
        await session.next("transcript")
        await subject.quiet(WATCHED_S)
        if session.frames[-1].body != "transcript":
            raise BrokenRuleError(f"{session.frames[-1].body} after the transcript")
        stable = [one.frame.partial_transcript.stable for one in session.of("partial_transcript")]
        for earlier, later in itertools.pairwise(stable):
            if not later.startswith(earlier):
                raise BrokenRuleError(f"stable of {len(earlier)} characters was changed, not appended to")
        if not stable:
            raise SkippedError("no partials came, which a service may leave out; with --recording there may be some")
    return f"{len(stable)} partials, {len(stable[-1])} characters stable at the end"


RULES: Final[tuple[Rule, ...]] = (answers_with_one_transcript, puts_audio_in_order, partials_only_grow)
