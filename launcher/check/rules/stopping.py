"""Cancel and deadlines: work that is not wanted any more, or not in time."""

import asyncio
from typing import Final

from launcher.check.peer import Session, in_words
from launcher.check.rule import ASR, LLM, TTS, BrokenRuleError, Rule, SkippedError, rule
from launcher.check.subject import Subject, no_answer_but
from launcher.check.work import QUESTION, WHOLE_MS, request
from proto.v1 import speech_pb2 as pb

# Frames of a cancelled response that were on their way may still come so long: an engine stops at its next piece.
CANCEL_AT_MOST_S: Final = 0.5
# And so long nothing more may.
WATCHED_S: Final = 0.5
DEADLINE_MS: Final = 300
# A deadline is seconds; an error that comes later than this after it is late.
LATE_S: Final = 2.0
LONG_TEXT: Final = "This sentence is spoken again and again, until somebody has heard enough of it. " * 100


@rule(LLM, TTS, says="Cancel stops the engine: what was on its way may still come, and then nothing.")
async def cancel_is_quick(subject: Subject) -> str:
    """Cancel in the middle of a stream; measure until its last frame."""
    loop = asyncio.get_running_loop()
    async with subject.session() as session:
        header = subject.work.header(session)
        if subject.role == TTS:
            asked = pb.SynthesisRequest(sample_rate=16_000, granted_ms=WHOLE_MS, text=LONG_TEXT)
            session.send(header, synthesis_request=asked)
            await session.next("speech_out")
        else:
            session.send(header, generation_request=request(QUESTION))
            await session.next("text_delta")
        cancelled_s = loop.time()
        _cancel(subject, session)
        await subject.fence()
        taken_s = loop.time()  # the service has the cancel by now, however busy either of us is
        if session.of(subject.work.ending):
            raise SkippedError("the work was done before the cancel; give the engine a latency of seconds")
        at_cancel = len(session.frames)
        await asyncio.sleep(CANCEL_AT_MOST_S + WATCHED_S)
        _expect_no_end(subject, session, at_cancel)
        last_s = session.frames[-1].at_s - cancelled_s
        if session.frames[-1].at_s - taken_s > CANCEL_AT_MOST_S:
            raise BrokenRuleError(f"{session.frames[-1].body} {last_s * 1000:.0f} ms after the cancel")
    return f"the last frame came {max(last_s, 0.0) * 1000:.0f} ms after the cancel (at most {CANCEL_AT_MOST_S:g} s)"


@rule(ASR, LLM, TTS, says="A cancel is not answered and frees the lease; frames of the older generation are dropped.")
async def cancel_is_final(subject: Subject) -> str:
    """Cancel work that waits, then send what would end it, and ask for it again as before the cancel."""
    async with subject.session() as session:
        header = subject.work.header(session)
        await subject.hold(session)
        at_cancel = len(session.frames)
        _cancel(subject, session)
        if subject.role == LLM:  # it did not wait for anything, so that some of it was on its way
            await subject.fence()
            subject.expect_held(session)
            at_cancel = len(session.frames)
        subject.work.finish(session, header)
        subject.work.begin(session, header, subject.peer.next_address)
        subject.work.finish(session, header)
        await subject.quiet(WATCHED_S)
        for received in session.frames[at_cancel:]:
            raise BrokenRuleError(f"{in_words(received.frame)} after the cancel")
    if not await subject.announces(lambda told: told.leases == 0):
        raise BrokenRuleError(f"{subject.announcement.leases} leases are announced after the cancel")
    return "silence, and the lease is free"


@rule(ASR, LLM, TTS, says="A cancel ends the work that its header names, and no other of the session.")
async def cancel_spares_others(subject: Subject) -> str:
    """Hold two pieces of work in a session, cancel one, finish the other."""
    async with subject.session() as session:
        other = subject.work.header(session, turn=2)
        await subject.hold(session)
        subject.work.begin(session, other, subject.peer.next_address)
        _cancel(subject, session)
        subject.work.finish(session, other)
        ended = await session.next(subject.work.ending)
        header = ended.frame.header
        if (header.turn_id, header.response_id) != (other.turn_id, other.response_id):
            raise BrokenRuleError(f"{ended.body} of the cancelled work (turn {header.turn_id})")
    return "turn 1 cancelled, turn 2 done"


@rule(ASR, LLM, TTS, says="A cancel of what does not exist does nothing, and is not answered.")
async def cancel_of_nothing_is_nothing(subject: Subject) -> str:
    """Cancel a response that never was, then have the session's work done."""
    async with subject.session() as session:
        nothing = session.header(turn_id=9, response_id="r-9", generation=1)
        session.send(nothing, cancel=pb.Cancel(reason="check"))
        await subject.fence()
        no_answer_but(session)
        # An older generation than that cancel's, but of other work.
        await subject.do(session)
    return "silence, and other work of the session was done"


@rule(ASR, LLM, TTS, says="What is not done within deadline_ms of the opening frame ends with DEADLINE_EXCEEDED.")
async def keeps_the_deadline(subject: Subject) -> str:
    """Hold work until its deadline is over."""
    loop = asyncio.get_running_loop()
    async with subject.session() as session:
        begun_s = loop.time()
        header = subject.work.header(session, deadline_ms=DEADLINE_MS)
        subject.work.begin(session, header, subject.peer.next_address)
        received = await session.next("error", "refusal", subject.work.ending)
        took_s = received.at_s - begun_s
        if received.body == subject.work.ending:
            if took_s < DEADLINE_MS / 1000 + LATE_S:
                raise SkippedError(f"the work was done in {took_s * 1000:.0f} ms; give the engine a latency of seconds")
            raise BrokenRuleError(f"{received.body} {took_s:.1f} s after a request with {DEADLINE_MS} ms")
        if received.frame.error.code != pb.Error.DEADLINE_EXCEEDED or not received.frame.error.retryable:
            raise BrokenRuleError(f"{in_words(received.frame)}, not a retryable DEADLINE_EXCEEDED")
        if not DEADLINE_MS / 1000 * 0.9 <= took_s <= DEADLINE_MS / 1000 + LATE_S:
            raise BrokenRuleError(f"the error came after {took_s * 1000:.0f} ms of {DEADLINE_MS} ms")
        at_end = len(session.frames)
        subject.work.finish(session, subject.work.header(session))
        await subject.fence()
        _expect_no_end(subject, session, at_end)
    return f"DEADLINE_EXCEEDED after {took_s * 1000:.0f} ms of {DEADLINE_MS} ms"


def _cancel(subject: Subject, session: Session, turn: int = 1) -> None:
    header = subject.work.header(session, turn=turn, generation=1)
    session.send(header, cancel=pb.Cancel(reason="check"))


def _expect_no_end(subject: Subject, session: Session, start: int) -> None:
    for received in session.frames[start:]:
        if received.body == subject.work.ending:
            raise BrokenRuleError(f"{received.body} of work that had ended")


RULES: Final[tuple[Rule, ...]] = (
    cancel_is_quick,
    cancel_is_final,
    cancel_spares_others,
    cancel_of_nothing_is_nothing,
    keeps_the_deadline,
)
