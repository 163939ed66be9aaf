"""Leases: who gets a place, who is refused, what keeps it and what gives it back."""

import asyncio
from typing import Any, Final

from launcher.check.peer import Received, Session, in_words
from launcher.check.rule import ALL, ASR, TTS, VAD, BrokenRuleError, Rule, SkippedError, rule
from launcher.check.subject import MOST_LEASES, Subject, no_answer_but
from proto.v1 import speech_pb2 as pb

# Of its time to live, after which a lease that nothing renews must be gone.
LATE: Final = 2.0
# What each role answers when there is no lease for it.
HOMELESS: Final[dict[str, dict[str, Any]]] = {
    VAD: {"audio": pb.Audio(pcm=bytes(64))},
    ASR: {"speech": pb.Speech(pcm=bytes(64))},
    TTS: {"synthesis_grant": pb.SynthesisGrant(until_ms=100)},
}
# Nothing comes for a closed session for so long.
WATCHED_S: Final = 0.2
# What shows that a lease was given after all.
RESULTS: Final = ("audio_ack", "partial_transcript", "transcript", "text_delta", "generation_done", "speech_out")


@rule(VAD, ASR, TTS, says="A frame of a lease that is not here is answered with UNKNOWN_SESSION, retryable.")
async def tells_of_unknown_leases(subject: Subject) -> str:
    """Send one that opens nothing."""
    ((name, body),) = HOMELESS[subject.role].items()
    async with subject.session() as session:
        session.send(subject.work.header(session), **{name: body})
        received = await session.next("error", "refusal", subject.work.ending or "audio_ack")
        error = received.frame.error
        if error.code != pb.Error.UNKNOWN_SESSION or not error.retryable:
            raise BrokenRuleError(f"{in_words(received.frame)}, retryable: {error.retryable}, in answer to {name}")
    return f"UNKNOWN_SESSION for {name}"


@rule(*ALL, says="A service with no place answers at_capacity{role}, and does nothing of what was asked.")
async def refuses_when_full(subject: Subject) -> str:
    """Take every place, and one more."""
    held = await _fill(subject)
    try:
        async with subject.session() as late:
            subject.work.begin(late, subject.work.header(late), subject.peer.next_address)
            subject.work.finish(late, subject.work.header(late))
            refusal = await _first_answer(subject, late, held)
            if refusal.frame.refusal.WhichOneof("reason") != "at_capacity":
                raise BrokenRuleError(f"{in_words(refusal.frame)}, though {len(held)} of {len(held)} leases are held")
            told = refusal.frame.refusal.at_capacity
            if told.role != subject.announcement.role:
                raise BrokenRuleError(f"the refusal is of role {told.role}, not {subject.announcement.role}")
            await subject.fence()
            no_answer_but(late, "refusal", "error")  # what followed the opening belongs to no lease
    finally:
        await _empty(subject, held)
    return f"{len(held)} leases, then at_capacity, retry_after_ms {told.retry_after_ms}"


@rule(*ALL, says="session_close ends all leases of the session, is not answered, and may come twice.")
async def gives_places_back(subject: Subject) -> str:
    """Take every place, give one back, take it again."""
    held = await _fill(subject)
    try:
        leaving = held.pop()
        for _ in range(2):
            leaving.send(session_close=pb.SessionClose(reason="check"))
        await subject.fence()
        before = len(leaving.frames)  # a model does not wait: some of its work was on its way
        subject.work.finish(leaving, subject.work.header(leaving))
        await subject.quiet(WATCHED_S)
        for received in leaving.frames[before:]:
            # What came for it after the close belongs to no lease.
            if received.body != "error" or received.frame.error.code != pb.Error.UNKNOWN_SESSION:
                raise BrokenRuleError(f"{in_words(received.frame)} after session_close")
        subject.peer.forget(leaving)
        coming = subject.open()
        held.append(coming)
        await subject.hold(coming)
    finally:
        await _empty(subject, held)
    return f"one of {len(held)} closed, another took its place"


@rule(*ALL, says="A lease that nothing renews is freed after its time to live, with LEASE_EXPIRED.")
async def frees_what_nobody_renews(subject: Subject) -> str:
    """Hold a lease and be silent."""
    ttl_s = _ttl(subject)
    async with subject.session() as session:
        session.renewed = False
        session.patience_s = ttl_s * LATE + 1.0
        begun_s = asyncio.get_running_loop().time()
        await subject.hold(session)
        received = await session.next("error", *filter(None, [subject.work.ending]))
        took_s = received.at_s - begun_s
        if received.body != "error":
            raise SkippedError("the work was done before the lease could expire; give the engine a latency of seconds")
        if received.frame.error.code != pb.Error.LEASE_EXPIRED:
            raise BrokenRuleError(f"{in_words(received.frame)}, not LEASE_EXPIRED")
        if took_s < ttl_s * 0.9:
            raise BrokenRuleError(f"expired after {took_s:.1f} s of {ttl_s:g} s")
    return f"LEASE_EXPIRED after {took_s:.1f} s of {ttl_s:g} s"


@rule(VAD, ASR, TTS, says="A lease_renewal with the session's id counts as traffic for all leases of the session.")
async def keeps_what_is_renewed(subject: Subject) -> str:
    """Hold a lease for longer than it lives by itself."""
    ttl_s = _ttl(subject)
    async with subject.session() as session:
        await subject.hold(session)
        await asyncio.sleep(ttl_s * LATE)
        no_answer_but(session, "audio_ack", "partial_transcript")
        subject.work.finish(session, subject.work.header(session))
        await session.next(subject.work.ending or "audio_ack")
    return f"held for {ttl_s * LATE:.1f} s by renewals alone"


def _ttl(subject: Subject) -> float:
    if not subject.options.lease_ttl_s:
        raise SkippedError(
            "takes twice the time to live; say --lease_ttl_s with what the service was told (usually 10)"
        )
    return subject.options.lease_ttl_s


async def _fill(subject: Subject) -> list[Session]:
    """Take every place of the service."""
    capacity = subject.announcement.capacity
    if capacity > MOST_LEASES:
        raise SkippedError(
            f"a capacity of {capacity} is too much to fill; start the service with {MOST_LEASES} or less"
        )
    held = [subject.open() for _ in range(capacity)]
    for session in held:
        subject.work.begin(session, subject.work.header(session), subject.peer.next_address)
    await subject.fence()
    for number, session in enumerate(held):
        for received in session.of("refusal", "error"):
            await _empty(subject, held)
            raise BrokenRuleError(f"{in_words(received.frame)} with {number} of {capacity} leases held")
    _expect_full(subject, held)
    return held


async def _first_answer(subject: Subject, late: Session, held: list[Session]) -> Received:
    try:
        answer = await late.next("refusal", *RESULTS)
    except BrokenRuleError:
        _expect_full(subject, held)
        raise
    if answer.body != "refusal":
        _expect_full(subject, held)
    return answer


def _expect_full(subject: Subject, held: list[Session]) -> None:
    if subject.work.ending and any(session.of(subject.work.ending) for session in held):
        raise SkippedError("leases were done before the service was full; give its engine a latency of seconds")


async def _empty(subject: Subject, held: list[Session]) -> None:
    for session in held:
        subject.close(session)
    await subject.fence()


RULES: Final[tuple[Rule, ...]] = (
    tells_of_unknown_leases,
    refuses_when_full,
    gives_places_back,
    frees_what_nobody_renews,
    keeps_what_is_renewed,
)
