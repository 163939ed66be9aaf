"""What can be told only at the end: everything that came was in order, and how the service goes."""

import asyncio
from typing import Final

from bus import health
from launcher.check.peer import Session, in_words
from launcher.check.rule import ALL, BrokenRuleError, Rule, SkippedError, rule
from launcher.check.rules.announcing import is_http
from launcher.check.subject import GONE_S, Subject
from proto.v1 import speech_pb2 as pb


@rule(*ALL, says="Every message is one Frame with one body and a session that exists; nothing in several parts.")
async def sends_only_frames(subject: Subject) -> str:
    """Look back at everything that came."""
    for _ in range(2):  # what came together with the answer to the first is there before that to the second
        await subject.fence()
    seen = subject.peer.oddities.seen
    if seen:
        raise BrokenRuleError(f"{seen[0]}" + (f", and {len(seen) - 1} more" if len(seen) > 1 else ""))
    return "all that came was understood"


@rule(*ALL, says="Drain: say DRAINING, refuse new leases with not_ready, finish those held, exit with status 0.")
async def drains(subject: Subject) -> str:
    """Hold a lease, ask for the drain, try to take another, finish the first."""
    if not subject.options.drain:
        raise SkippedError("ends the service; say --drain")
    async with subject.session() as held:
        await subject.hold(held)
        subject.peer.send(subject.address, _drain(subject))
        if not await subject.announces(lambda told: told.state == pb.DRAINING, within_s=GONE_S):
            raise BrokenRuleError("DRAINING was not announced")
        await _expect_refusal(subject)
        await _expect_not_ready(subject)
        subject.expect_held(held)
        subject.work.finish(held, subject.work.header(held))
        await held.next(subject.work.ending or "audio_ack")
    return f"refused, finished what was held, {await _gone(subject)}"


def _drain(subject: Subject) -> bytes:
    header = pb.Header(reply_to=subject.peer.address)
    return pb.Frame(header=header, drain=pb.Drain()).SerializeToString()


async def _expect_refusal(subject: Subject) -> None:
    session: Session
    async with subject.session() as session:
        subject.work.begin(session, subject.work.header(session), subject.peer.next_address)
        received = await session.next("refusal", subject.work.ending or "audio_ack")
        told = received.frame.refusal.not_ready
        if received.frame.refusal.WhichOneof("reason") != "not_ready" or told.state != pb.DRAINING:
            raise BrokenRuleError(f"{in_words(received.frame)} in answer to {subject.work.opening} while draining")


async def _expect_not_ready(subject: Subject) -> None:
    url = subject.announcement.health_url.rstrip("/")
    if is_http(url) and not await asyncio.to_thread(health.check, url + "/health/ready"):
        raise BrokenRuleError("/health/ready says 200 while the service drains")


async def _gone(subject: Subject) -> str:
    patience_s = subject.options.patience_s
    if subject.ended is None:
        try:
            async with asyncio.timeout(patience_s + GONE_S):
                while not subject.is_gone():  # noqa: ASYNC110 - silence has no event
                    await asyncio.sleep(GONE_S / 10)
        except TimeoutError:
            raise BrokenRuleError(f"still announces itself {patience_s + GONE_S:g} s after its last lease") from None
        return "gone (its exit status cannot be seen from here; --run shows it)"
    try:
        async with asyncio.timeout(patience_s):
            status = await subject.ended()
    except TimeoutError:
        raise BrokenRuleError(f"has not ended {patience_s:g} s after its last lease") from None
    if status != 0:
        raise BrokenRuleError(f"ended with status {status}, not 0")
    return "exit status 0"


RULES: Final[tuple[Rule, ...]] = (sends_only_frames, drains)
