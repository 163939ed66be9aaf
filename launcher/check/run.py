"""Checks a service against the rules, one after the other, as a gateway that the service knows."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from launcher.check.rule import BrokenRuleError, Outcome, Rule, SkippedError, Verdict
from launcher.check.subject import GONE_S, Subject
from proto.v1 import speech_pb2 as pb

# A rule that hangs ends after so many times the patience: its steps have theirs.
HUNG: Final = 6.0


async def appearance(subject: Subject, within_s: float) -> str:
    """Wait until the service announces that it is ready; return why it is not to be checked, "" if it is."""
    loop = asyncio.get_running_loop()
    until_s = loop.time() + within_s
    while not any(announcement.state == pb.READY for _, announcement in subject.beats):
        try:
            async with asyncio.timeout_at(until_s):
                await subject.peer.arrival()
        except TimeoutError:
            return _why_absent(subject, within_s)
    return ""


async def verdicts(
    subject: Subject, rules: Iterable[Rule], show: Callable[[Verdict], None] = lambda _: None
) -> list[Verdict]:
    """Check *rules* that are *subject*'s; *show* each verdict as it is found."""
    renewing = asyncio.create_task(subject.renew())
    found: list[Verdict] = []
    try:
        for each in rules:
            if subject.role in each.roles:
                found.append(await _verdict(subject, each))
                show(found[-1])
    finally:
        renewing.cancel()
    return found


async def _verdict(subject: Subject, rule: Rule) -> Verdict:
    loop = asyncio.get_running_loop()
    begun_s = loop.time()
    if subject.is_gone():
        outcome, why = Outcome.FAIL, f"the service is gone: no announcement for {GONE_S:g} s"
    else:
        outcome, why = await _outcome(rule.check(subject), subject.options.patience_s * HUNG)
    return Verdict(rule, outcome, why, loop.time() - begun_s)


async def _outcome(checking: Awaitable[str], at_most_s: float) -> tuple[Outcome, str]:
    try:
        async with asyncio.timeout(at_most_s):
            return Outcome.PASS, await checking
    except SkippedError as error:
        return Outcome.SKIP, str(error)
    except BrokenRuleError as error:
        return Outcome.FAIL, str(error)
    except TimeoutError:
        return Outcome.FAIL, "what has to come did not come in time"


def _why_absent(subject: Subject, within_s: float) -> str:
    if subject.beats:
        return f"the service was not ready within {within_s:g} s; it says {pb.State.Name(subject.announcement.state)}"
    others = sorted({beat.announcement.inbox for beat in subject.peer.beats})
    if others:
        return f"no service at {subject.address} announced itself, but {', '.join(others)} did: give that address"
    return f"no service announced itself to {subject.peer.address} within {within_s:g} s; start it with that gateway"
