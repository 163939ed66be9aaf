"""What a tts owes: the text it was given, at the rate that was asked for, without gaps and never beyond the grant."""

import asyncio
from typing import Final

from launcher.check.peer import Received, Session, in_words
from launcher.check.rule import TTS, BrokenRuleError, Rule, rule
from launcher.check.sound import RATE
from launcher.check.subject import Subject
from launcher.check.work import WHOLE_MS
from proto.v1 import speech_pb2 as pb

TEXT: Final = "First comes this sentence, which has a second part. Then comes another one. And that is all of it."
GRANTS_MS: Final = (300, 700)
# Nothing may come beyond a grant for so long.
WATCHED_S: Final = 0.3
RATES: Final = (8_000, 24_000, 48_000)
# Engines draw pauses and lengths anew at each time; a wrong rate is off by a third at least.
SAME_LENGTH: Final = 0.15


@rule(TTS, says="Audio is never sent beyond granted_ms or the greatest until_ms; with a grant of 0 nothing is.")
async def keeps_to_its_grants(subject: Subject) -> str:
    """Grant little by little, and less again."""
    async with subject.session() as session:
        header = subject.work.header(session)
        session.send(header, synthesis_request=pb.SynthesisRequest(sample_rate=RATE, text=TEXT))
        await subject.quiet(WATCHED_S)
        if session.frames:
            raise BrokenRuleError(f"{in_words(session.frames[0].frame)} without a grant")
        for granted_ms in GRANTS_MS:
            session.send(header, synthesis_grant=pb.SynthesisGrant(until_ms=granted_ms))
            session.send(header, synthesis_grant=pb.SynthesisGrant(until_ms=100))  # grants only grow
            async with asyncio.timeout(session.patience_s):
                while _heard_ms(session) < granted_ms - 100:
                    await session.next("speech_out")
            await subject.quiet(WATCHED_S)
            if _heard_ms(session) > granted_ms:
                raise BrokenRuleError(f"audio up to {_heard_ms(session):.0f} ms, and {granted_ms} ms were granted")
        subject.work.finish(session, header)
        await session.next("synthesis_done")
    return f"nothing, then up to {GRANTS_MS[0]}, {GRANTS_MS[1]} ms, then all {_heard_ms(session):.0f} ms"


@rule(TTS, says="at_ms goes on where the last audio ended; synthesis_done says how much it was; nothing comes after.")
async def leaves_no_gap(subject: Subject) -> str:
    """Have a text spoken and add it up."""
    async with subject.session() as session:
        done = await _speak(subject, session, TEXT)
        await subject.quiet(WATCHED_S)
        heard_ms = 0.0
        for received in session.of("speech_out"):
            out = received.frame.speech_out
            if len(out.pcm) % 2:
                raise BrokenRuleError(f"half a sample at {out.at_ms} ms")
            if abs(out.at_ms - heard_ms) > 1:
                raise BrokenRuleError(f"audio at {out.at_ms} ms, and what came before it ended at {heard_ms:.0f} ms")
            heard_ms += len(out.pcm) / 2 / out.sample_rate * 1000 if out.pcm else 0.0
        if abs(done.frame.synthesis_done.audio_ms - heard_ms) > 1:
            raise BrokenRuleError(f"audio_ms is {done.frame.synthesis_done.audio_ms}, and {heard_ms:.0f} ms came")
        if session.frames[-1].body != "synthesis_done" or len(session.of("synthesis_done")) > 1:
            raise BrokenRuleError(f"{session.frames[-1].body} after synthesis_done")
        if not heard_ms:
            raise BrokenRuleError("no audio came")
    return f"{len(session.of('speech_out'))} frames, {heard_ms:.0f} ms"


@rule(TTS, says="The texts of speech_out joined are the answer's text as it was written.")
async def tells_what_it_speaks(subject: Subject) -> str:
    """Write a text in pieces that cut words, the second and third in the wrong order, one of them twice."""
    pieces = [TEXT[start : start + 17] for start in range(0, len(TEXT), 17)]
    async with subject.session() as session:
        header = subject.work.header(session)
        session.send(header, synthesis_request=pb.SynthesisRequest(sample_rate=RATE, granted_ms=WHOLE_MS))
        for seq in (0, 2, 1, 1, *range(3, len(pieces))):
            session.send(header, text_delta=pb.TextDelta(text=pieces[seq], seq=seq))
        session.send(header, generation_done=pb.GenerationDone(deltas=len(pieces)))
        await session.next("synthesis_done")
        said = "".join(received.frame.speech_out.text for received in session.of("speech_out"))
        if said != TEXT:
            raise BrokenRuleError(f"{said!r} was told, and {TEXT!r} was written")
    return f"{len(TEXT)} characters in {len(pieces)} pieces, {len(session.of('speech_out'))} frames"


@rule(TTS, says="Text that comes before its synthesis_request is kept, and used right after it.")
async def keeps_early_text(subject: Subject) -> str:
    """Let the llm be quicker than the gateway."""
    async with subject.session() as session:
        header = subject.work.header(session)
        session.send(header, text_delta=pb.TextDelta(text="Hello there.", seq=0))
        session.send(header, generation_done=pb.GenerationDone(deltas=1))
        await subject.fence()
        session.send(header, synthesis_request=pb.SynthesisRequest(sample_rate=RATE, granted_ms=WHOLE_MS))
        await session.next("synthesis_done")
        if _heard_ms(session) <= 0:
            raise BrokenRuleError("the text that came early was not spoken")
    return f"{_heard_ms(session):.0f} ms of text that came first"


@rule(TTS, says="If a piece of the text is missing the response fails: nobody shall hear a sentence with a hole.")
async def fails_if_text_is_lost(subject: Subject) -> str:
    """Leave out a delta."""
    async with subject.session() as session:
        header = subject.work.header(session)
        session.send(header, synthesis_request=pb.SynthesisRequest(sample_rate=RATE, granted_ms=WHOLE_MS))
        for seq in (0, 2):
            session.send(header, text_delta=pb.TextDelta(text="Some words. ", seq=seq))
        session.send(header, generation_done=pb.GenerationDone(deltas=3))
        received = await session.next("error", "synthesis_done")
        if received.body != "error" or not received.frame.error.retryable:
            raise BrokenRuleError(f"{in_words(received.frame)} of a text with a hole; a retryable error was due")
    return in_words(received.frame)


@rule(TTS, says="speech_out is at the sample_rate that was asked for, in the frames and in the sound.")
async def speaks_at_the_rate_asked(subject: Subject) -> str:
    """Have the same spoken at several rates; it has to last as long."""
    lengths: list[float] = []
    for rate in RATES:
        async with subject.session() as session:
            await _speak(subject, session, TEXT, rate)
            rates = {one.frame.speech_out.sample_rate for one in session.of("speech_out") if one.frame.speech_out.pcm}
            if rates != {rate}:
                raise BrokenRuleError(f"sample_rate {sorted(rates)}, and {rate} was asked for")
            lengths.append(_heard_ms(session))
    if max(lengths) > min(lengths) * (1 + SAME_LENGTH):
        raise BrokenRuleError(f"the same text lasts {', '.join(f'{ms:.0f}' for ms in lengths)} ms at {RATES} Hz")
    return f"{', '.join(map(str, RATES))} Hz, {min(lengths):.0f} to {max(lengths):.0f} ms"


@rule(TTS, says="A request that was understood and is impossible is INVALID_REQUEST, not retryable.")
async def refuses_the_impossible(subject: Subject) -> str:
    """Ask for 7 samples a second."""
    async with subject.session() as session:
        asked = pb.SynthesisRequest(sample_rate=7, granted_ms=WHOLE_MS, text="Hello.")
        session.send(subject.work.header(session), synthesis_request=asked)
        received = await session.next("error", "synthesis_done")
        error = received.frame.error
        if error.code != pb.Error.INVALID_REQUEST or error.retryable:
            raise BrokenRuleError(f"{in_words(received.frame)} in answer to a sample rate of 7 Hz")
    return "INVALID_REQUEST for 7 Hz"


async def _speak(subject: Subject, session: Session, text: str, rate: int = RATE) -> Received:
    asked = pb.SynthesisRequest(sample_rate=rate, granted_ms=WHOLE_MS, text=text)
    session.send(subject.work.header(session), synthesis_request=asked)
    return await session.next("synthesis_done")


def _heard_ms(session: Session) -> float:
    outs = [received.frame.speech_out for received in session.of("speech_out")]
    return sum(len(out.pcm) / 2 / out.sample_rate * 1000 for out in outs if out.sample_rate)


RULES: Final[tuple[Rule, ...]] = (
    keeps_to_its_grants,
    leaves_no_gap,
    tells_what_it_speaks,
    keeps_early_text,
    fails_if_text_is_lost,
    speaks_at_the_rate_asked,
    refuses_the_impossible,
)
