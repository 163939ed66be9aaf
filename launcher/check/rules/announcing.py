"""What a service says of itself, once a second."""

import asyncio
import re
from typing import Final
from urllib.parse import urlsplit

from bus.frames import PROTOCOL_VERSION
from launcher.check.rule import ALL, BrokenRuleError, Rule, rule
from launcher.check.subject import GONE_S, Subject
from proto.v1 import speech_pb2 as pb

# How many gaps between announcements are looked at.
GAPS: Final = 3
_NUMERIC: Final = re.compile(r"tcp://(\d{1,3}(\.\d{1,3}){3}|\[[0-9A-Fa-f:.]+\]):\d{1,5}|ipc://.+")
_ANY_HOST: Final = ("tcp://0.0.0.0:", "tcp://[::]:")


@rule(*ALL, says="An announcement holds role, instance_id, engine, capacity, leases, state and a reachable inbox.")
async def announces_itself(subject: Subject) -> str:
    """Look at the newest announcement."""
    told = subject.announcement
    wanted = pb.Role.Value(subject.role.upper())
    problems = [
        (told.role != wanted, f"role is {told.role}, not {wanted} ({subject.role.upper()})"),
        (not told.instance_id, "instance_id is empty"),
        (not told.engine, "engine is empty"),
        (told.capacity < 1, "capacity is 0"),
        (told.leases > told.capacity, f"{told.leases} leases are more than the capacity of {told.capacity}"),
        (told.state != pb.READY, f"state is {told.state}, not READY"),
        (not _NUMERIC.fullmatch(told.inbox), f"inbox {told.inbox!r} is no address with a numeric host"),
        (told.inbox.startswith(_ANY_HOST), f"nobody can send to {told.inbox!r}"),
        (len({each.instance_id for _, each in subject.beats}) > 1, "instance_id changes while the process lives"),
    ]
    for wrong, problem in problems:
        if wrong:
            raise BrokenRuleError(problem)
    return f"{subject.role} {told.engine}, capacity {told.capacity}, instance {told.instance_id}"


@rule(*ALL, says="Announcement.protocol_version is 1; a gateway leaves services with another version alone.")
async def speaks_this_version(subject: Subject) -> str:
    """Look at the newest announcement."""
    version = subject.announcement.protocol_version
    if version != PROTOCOL_VERSION:
        raise BrokenRuleError(f"protocol_version is {version}, not {PROTOCOL_VERSION}")
    return f"protocol_version {version}"


@rule(*ALL, says="Announcements come once a second; three missed beats: gone.")
async def announces_every_second(subject: Subject) -> str:
    """Listen to a few beats."""
    loop = asyncio.get_running_loop()
    begun_s, seen = loop.time(), len(subject.beats)
    for _ in range(GAPS):
        if not await subject.announces(lambda _: True, within_s=GONE_S):
            raise BrokenRuleError(f"no announcement for {GONE_S:g} s")
    count, took_s = len(subject.beats) - seen, loop.time() - begun_s
    if count > 2 * took_s + 2:
        raise BrokenRuleError(f"{count} announcements in {took_s:.1f} s, though nothing changed")
    return f"{count} in {took_s:.1f} s"


@rule(*ALL, says="`leases` are those held: a lease shows in the announcements while it is held, and then no more.")
async def counts_its_leases(subject: Subject) -> str:
    """Hold a lease and look for it."""
    if not await subject.announces(lambda told: told.leases == 0):
        raise BrokenRuleError(f"{subject.announcement.leases} leases are announced, and none is held")
    async with subject.session() as session:
        await subject.hold(session)
        shown = await subject.announces(lambda told: told.leases == 1)
        subject.expect_held(session)
        if not shown:
            raise BrokenRuleError(f"{subject.announcement.leases} leases are announced, and one is held")
    if not await subject.announces(lambda told: told.leases == 0):
        raise BrokenRuleError(f"{subject.announcement.leases} leases are announced after session_close")
    return "0, 1 while one was held, 0"


def is_http(url: str) -> bool:
    """Tell whether *url* can be asked."""
    parts = urlsplit(url)
    return parts.scheme == "http" and bool(parts.hostname)


RULES: Final[tuple[Rule, ...]] = (announces_itself, speaks_this_version, announces_every_second, counts_its_leases)
