"""One client of the gateway: sends what was made beforehand on schedule, looks at what comes, hangs up."""

import asyncio
from typing import Final

from launcher.load.clients.conversation import Conversation
from launcher.load.clients.mouths import MOUTHS, Mouth
from launcher.load.clients.script import Script
from launcher.load.clients.wire import TRY_AGAIN_LATER
from launcher.load.clock import Clock
from launcher.load.findings import Findings
from launcher.load.schedule import Visit

CONNECT_S: Final = 20.0
# One who comes back connects so long before the first words.
CONNECTS_AHEAD_MS: Final = 200
# What a gateway says in an event before it closes the connection for want of room.
NO_ROOM: Final = "session_limit_reached"


class Client:
    """One visit. `connect`, `begin`, and `settle` when the run is over."""

    def __init__(self, protocol: str, target: str, visit: Visit, made: Script) -> None:
        self.visit = visit
        self._made = made
        self._chunks_sent = 0
        self._clock: Clock | None = None
        self._findings = Findings()
        self._conversation = Conversation(visit, self._findings, made.chunk_ms, flushes=protocol.startswith("realtime"))
        self._ends_told = protocol != "socket"
        self._over = False
        self.admitted = False
        """Whether the gateway has let the client in."""
        self.mouth: Mouth = MOUTHS[protocol](target, self)

    async def connect(self) -> bool:
        """Connect; tell whether the gateway let the client in, as far as it says at once."""
        self._findings.counts["opened"] += 1
        try:
            async with asyncio.timeout(CONNECT_S):
                await self.mouth.connect()
        except (OSError, TimeoutError) as error:
            self._over = True
            self._findings.error("no connection", str(error) or "not in time")
            return False
        self.admitted = self._conversation.admitted = not self._over
        return self.admitted

    def begin(self, clock: Clock, findings: Findings) -> None:
        """Have the clock send, and hang up, as it was planned; notes go to *findings* from now on."""
        findings.add(self._findings)
        self._clock, self._findings, self._conversation.findings = clock, findings, findings
        if self.admitted:
            clock.at(self.visit.begins_ms + self._made.chunk_ms, self._tick)
        if self.visit.hangs_up:
            clock.at(self.visit.begins_ms + self.visit.length_ms, self._hang_up)

    @property
    def settled(self) -> bool:
        """Whether every answer that is waited for has come, or never will."""
        return self._over or self._conversation.settled

    def settle(self) -> None:
        """Count, and say goodbye."""
        self._conversation.settle(ends_told=self._ends_told)
        if not self._over:
            self._over = True
            self.mouth.close()

    # -- what mouths tell ---------------------------------------------------------------------------------------------

    def ended(self, why: str, code: int) -> None:
        """Take the end of the connection that we did not want."""
        if self._over:
            return
        self._over = True
        if code == TRY_AGAIN_LATER:
            self._findings.counts["refused"] += 1
            self._findings.error("refused: at capacity" if "capacity" in why else f"refused: {why.partition(':')[0]}")
            self._conversation.refused = not self._chunks_sent
        else:
            self._findings.error("connection ended", f"{code} {why}")

    def stopped(self, end_ms: float) -> None:
        """Take the end of a turn."""
        self._conversation.stopped(end_ms, self._now_ms())

    def audio(self, length_ms: float) -> None:
        """Take audio."""
        now_ms = self._now_ms()
        if not self._ends_told:
            self._conversation.spoke_over(now_ms)
            self._conversation.answering(now_ms)
        self._conversation.audio(length_ms, now_ms)

    def interrupted(self) -> None:
        """Take the word that the user speaks."""
        self._conversation.interrupted(self._now_ms())

    def done(self, status: str) -> None:
        """Take the end of an answer."""
        self._conversation.ended(completed=status == "completed", why=status, now_ms=self._now_ms())

    def failed(self, code: str, what: str) -> None:
        """Take an error."""
        if code != NO_ROOM:  # the close that follows counts
            self._findings.error(f"error event: {code}", what)

    def turn_failed(self, what: str) -> None:
        """Take the word that a turn is lost."""
        self._findings.error("turn failed", what)
        self._conversation.failed("failed")

    def stages(self, spent_ms: dict[str, float]) -> None:
        """Take the gateway's account of where a turn's time went."""
        for stage, ms in spent_ms.items():
            if stage != "total":
                self._findings.time(f"stage: {stage}", ms)

    def _now_ms(self) -> float:
        return self._clock.now_ms() if self._clock is not None else 0.0

    def _tick(self, due_ms: float) -> None:
        if self._over or self._clock is None:
            return
        self.mouth.send(self._made.chunk(self.visit, self._chunks_sent))
        self._chunks_sent += 1
        # A microphone goes on while the last answers are awaited.
        self._clock.at(due_ms + self._made.chunk_ms, self._tick)

    def _hang_up(self, _: float) -> None:
        if not self._over:
            self._over = True
            self._findings.counts["hung_up"] += 1
            self.mouth.abort()
