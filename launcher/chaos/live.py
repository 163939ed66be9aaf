"""A live session: a microphone that never stops, ears, and somebody who speaks, waits for the answer, speaks again."""

import asyncio
import random
from itertools import cycle
from typing import Final

from launcher.chaos import canary
from launcher.chaos.ledger import Ledger, Outcome, Turn
from launcher.chaos.speakers import Door, Speaker
from launcher.errors import ClosedError, ConnectionFailedError

CHUNK_S: Final = 0.04
# How long somebody speaks, and waits after an answer, in s.
WORDS_S: Final = (0.6, 1.2)
PAUSE_S: Final = (0.3, 1.2)
# They do not all begin at once.
FIRST_PAUSE_S: Final = (0.0, 2.0)
# Close codes of RFC 6455 with which a server that stops may go; a pair of sockets just ends.
GOODBYES: Final = frozenset({1000, 1001, 1012})


class Microphone:
    """Sends sound in real time, on an absolute schedule, and silence while nothing is said."""

    def __init__(self, speaker: Speaker) -> None:
        self._speaker = speaker
        self._chunk_bytes = round(speaker.rate * CHUNK_S) * 2
        self._sound = memoryview(b"")
        self._said: asyncio.Future[tuple[float, float]] | None = None

    async def say(self, pcm: bytes) -> tuple[float, float]:
        """Say *pcm*; return when its last sample was due (time of the loop, s), and where it lies in the audio (ms)."""
        self._sound = memoryview(pcm)
        self._said = asyncio.get_running_loop().create_future()
        return await self._said

    async def run(self) -> None:
        """Send for ever. Raises ConnectionFailedError."""
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        chunks = 0
        while True:
            chunks += 1
            due_s = begun_s + chunks * CHUNK_S
            await asyncio.sleep(due_s - loop.time())
            chunk, self._sound = self._sound[: self._chunk_bytes], self._sound[self._chunk_bytes :]
            await self._speaker.send(bytes(chunk).ljust(self._chunk_bytes, b"\0"))
            if self._said is not None and not self._sound:
                self._said.set_result((due_s, chunks * CHUNK_S * 1000))
                self._said = None


class Live:
    """One session. `enter`, then `talk`."""

    def __init__(
        self,
        name: str,
        protocol: str,
        tones: tuple[int, ...],
        rng: random.Random,
        *,
        deadline_s: float,
        answer_ms: float | None = None,
    ) -> None:
        self.name = f"{name} ({protocol})"
        self.protocol = protocol
        self._tones = cycle(tones)
        self._rng = rng
        self._deadline_s = deadline_s
        self._answer_s = (answer_ms or 0.0) / 1000
        self._news = asyncio.Event()
        self._speaker: Speaker | None = None
        self.goodbye_expected = False
        """Whether the suite is about to stop."""
        self.ledger = Ledger(self.name, answer_ms, failures_told=protocol != "socket")

    async def enter(self, door: Door) -> None:
        """Connect. Raises ConnectionFailedError."""
        self._speaker = await door.enter(self.protocol)

    async def leave(self) -> None:
        """Hang up. Idempotent."""
        if self._speaker is not None:
            await self._speaker.close()

    async def talk(self, leaving: asyncio.Event, turns: int = 0) -> None:
        """Hold turns until *leaving* is set, or so many; finish the last and hang up."""
        if self._speaker is None:
            raise RuntimeError("enter first")
        microphone = Microphone(self._speaker)
        tasks = [
            asyncio.create_task(work)
            for work in (self._listen(self._speaker), microphone.run(), self._converse(microphone, leaving, turns))
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except ConnectionFailedError as error:
            self._hung_up(error, asyncio.get_running_loop().time())
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.leave()

    def _hung_up(self, error: ConnectionFailedError, now_s: float) -> None:
        proper = isinstance(error, ClosedError) and (error.code in GOODBYES if error.code else not error.reason)
        if self.goodbye_expected and proper:
            self.ledger.goodbye(now_s)
        else:
            self.ledger.closed(str(error), now_s)

    async def _listen(self, speaker: Speaker) -> None:
        loop = asyncio.get_running_loop()
        async for item in speaker.items():
            self.ledger.heard(item, loop.time())
            self._news.set()

    async def _converse(self, microphone: Microphone, leaving: asyncio.Event, turns: int) -> None:
        await self._pause(FIRST_PAUSE_S, leaving)
        while not leaving.is_set():
            turn = await self._turn(microphone)
            if turns and len(self.ledger.turns) >= turns:
                return
            if turn.outcome is Outcome.ANSWERED and turn.first_sound_s is not None:
                # Who has a player of its own gets an answer sooner than it sounds.
                played_s = turn.first_sound_s + self._answer_s
                await asyncio.sleep(played_s - asyncio.get_running_loop().time())
            await self._pause(PAUSE_S, leaving)

    async def _turn(self, microphone: Microphone) -> Turn:
        loop = asyncio.get_running_loop()
        hertz = next(self._tones)
        seconds = self._rng.uniform(*WORDS_S)
        rate = self._speaker.rate if self._speaker is not None else canary.RATE
        turn = self.ledger.begin(hertz, loop.time())
        try:
            async with asyncio.timeout(seconds + self._deadline_s):
                self.ledger.spoken(*await microphone.say(canary.tone(hertz, seconds, rate)))
                while self.ledger.current is turn:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            self.ledger.overdue(loop.time())
        return turn

    async def _pause(self, bounds_s: tuple[float, float], leaving: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(self._rng.uniform(*bounds_s)):
                await leaving.wait()
        except TimeoutError:
            return
