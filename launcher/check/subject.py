"""The service under test, as rules see it: what it announced, sessions with it, and how its role's work is done."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from bus.frames import Frame, Header
from launcher.check.peer import Peer, Received, Session, in_words
from launcher.check.rule import BrokenRuleError, SkippedError
from launcher.check.wire import with_unknown_body
from launcher.check.work import WORK, Work
from proto.v1 import speech_pb2 as pb

# A gateway takes a service for gone after three missed beats.
GONE_S: Final = 3.0
# How long a service may take to answer what it cannot know; one that did not once is never waited for so long again.
FENCE_S: Final = 5.0
NO_FENCE_S: Final = 0.5
# Leases that the kit takes at most to fill a service.
MOST_LEASES: Final = 512
# A gateway renews once a second; a service with a short time to live needs it sooner.
RENEWALS_IN_TTL: Final = 4.0


@dataclass(frozen=True, slots=True)
class Options:
    """What the person told the kit. *recording*: 16 kHz mono s16le, empty: synthetic speech."""

    patience_s: float = 10.0
    lease_ttl_s: float = 0.0
    """The service's time to live of a lease, 0: not told."""
    drain: bool = False
    drain_timeout_s: float = 30.0
    recording: bytes = b""


class Subject:
    """One service of *role* at *address*. *ended* gives its exit status, where it can be known."""

    def __init__(
        self, peer: Peer, role: str, address: str, options: Options, ended: Callable[[], Awaitable[int]] | None = None
    ) -> None:
        self.peer = peer
        self.role = role
        self.address = address
        self.options = options
        self.ended = ended
        self.work: Work = WORK[role]
        self._fence_s = FENCE_S

    # -- announcements ------------------------------------------------------------------------------------------------

    @property
    def beats(self) -> list[tuple[float, pb.Announcement]]:
        """When (loop time) it announced what, oldest first."""
        ours = [beat for beat in self.peer.beats if self._is_ours(beat.announcement)]
        return [(beat.at_s, beat.announcement) for beat in ours]

    @property
    def announcement(self) -> pb.Announcement:
        """What it announced last."""
        return self.beats[-1][1]

    def is_gone(self) -> bool:
        """Tell whether a gateway would take it for gone."""
        beats = self.beats
        return not beats or asyncio.get_running_loop().time() - beats[-1][0] > GONE_S

    async def announces(self, condition: Callable[[pb.Announcement], bool], within_s: float = 0.0) -> bool:
        """Wait until it announces what *condition* wants, beginning with what comes next; tell whether it did."""
        seen = len(self.beats)
        try:
            async with asyncio.timeout(within_s or self.options.patience_s):
                while not any(condition(announcement) for _, announcement in self.beats[seen:]):
                    seen = len(self.beats)
                    await self.peer.arrival()
        except TimeoutError:
            return False
        return True

    def _is_ours(self, announcement: pb.Announcement) -> bool:
        if announcement.inbox == self.address:
            return True
        # The service may know itself by another name than we do; then it has to be the only one that announces.
        inboxes = {beat.announcement.inbox for beat in self.peer.beats}
        return len(inboxes) == 1 and self.address not in inboxes

    # -- sessions -----------------------------------------------------------------------------------------------------

    def open(self, session_id: str = "") -> Session:
        """Return a new session with the service; it holds no lease yet."""
        session = self.peer.session(session_id)
        session.address, session.patience_s = self.address, self.options.patience_s
        return session

    def close(self, session: Session) -> None:
        """End every lease of *session*, as a gateway does when its client hangs up."""
        session.send(session_close=pb.SessionClose(reason="check"))
        self.peer.forget(session)

    @asynccontextmanager
    async def session(self, session_id: str = "") -> AsyncIterator[Session]:
        """Return a session that is closed at the end."""
        session = self.open(session_id)
        try:
            yield session
        finally:
            self.close(session)

    async def hold(self, session: Session, *, deadline_ms: int = 0) -> None:
        """Take a lease that stays until the work is finished, cancelled or closed.

        Raises:
            BrokenRuleError: it was refused or failed.
            SkippedError: the work cannot be held and was done at once.
        """
        header = self.work.header(session, deadline_ms=deadline_ms)
        self.work.begin(session, header, self.peer.next_address)
        await self.fence()
        self.expect_held(session)

    def expect_held(self, session: Session) -> None:
        """Raise what keeps *session* from holding a lease."""
        for received in session.of("error", "refusal"):
            raise BrokenRuleError(f"{in_words(received.frame)} in answer to {self.work.opening}")
        if session.of(self.work.ending):
            raise SkippedError(
                f"the service did the work before it could be held; give its engine a latency of seconds ({self.role})"
            )

    async def do(self, session: Session, *, turn: int = 1) -> Received:
        """Have one small piece of work done; return what ended it."""
        return await self.work.do(session, self.peer.next_address, turn)

    async def works(self) -> None:
        """Have one small piece of work done in a session of its own.

        Raises:
            BrokenRuleError: it was not.
        """
        async with self.session() as session:
            await self.do(session)

    async def fence(self) -> list[Received]:
        """Wait until the service has taken all that was sent so far: frames between two processes keep their order.

        It has when it answers a body that nobody knows. Returns the answers; none if it gave up waiting.
        """
        async with self.session() as session:
            session.renewed = False
            session.send_bytes(with_unknown_body(Frame(header=session.header())))
            try:
                async with asyncio.timeout(self._fence_s):
                    while not session.frames:
                        await self.peer.arrival()
            except TimeoutError:
                self._fence_s = NO_FENCE_S
            return session.frames

    async def quiet(self, seconds: float) -> None:
        """Wait, then for the service to have taken what was sent."""
        await asyncio.sleep(seconds)
        await self.fence()

    # -- renewals -----------------------------------------------------------------------------------------------------

    async def renew(self) -> None:
        """Renew the leases of all sessions, for ever, as a gateway does."""
        pause_s = min(1.0, (self.options.lease_ttl_s or 10.0) / RENEWALS_IN_TTL)
        while True:
            await asyncio.sleep(pause_s)
            ids = [session.id for session in self.peer.sessions if session.renewed]
            for start in range(0, len(ids), 1000):
                renewal = pb.LeaseRenewal(session_ids=ids[start : start + 1000])
                frame = Frame(header=Header(reply_to=self.peer.address), lease_renewal=renewal)
                self.peer.send(self.address, frame.SerializeToString())


def no_answer_but(session: Session, *allowed: str) -> None:
    """Raise if *session* got anything but *allowed*."""
    for received in session.frames:
        if received.body not in allowed:
            raise BrokenRuleError(f"{in_words(received.frame)} came")
