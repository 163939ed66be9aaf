"""What is done to the processes: one is killed every few seconds, now and then one is stopped and goes on later."""

import asyncio
import random
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from launcher.chaos.stage import Stage

# How long somebody who is paused does nothing, in s: shorter and longer than the three that make a service lost.
PAUSES_S: Final = (1.5, 6.0)
# A pause for so many kills.
KILLS_A_PAUSE: Final = 4


@dataclass(slots=True)
class Harm:
    """One kill or pause, by the loop's clock. *over_s*: when the process was ready again or went on."""

    deed: str
    name: str
    role: str
    at_s: float
    over_s: float | None = None


class Harming:
    """Does harm to a *stage*, seeded by *rng*. `harms` is the account of it."""

    def __init__(self, stage: Stage, rng: random.Random, show: Callable[[str], None]) -> None:
        self._stage = stage
        self._rng = rng
        self._show = show
        self._paused: set[str] = set()
        self.harms: list[Harm] = []

    async def run(self, every_s: float, seconds: float) -> None:
        """Kill somebody every *every_s* for so many *seconds*, pause some now and then; return when all run again."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + seconds
        due_s = loop.time()
        async with asyncio.TaskGroup() as tasks:
            kills = 0
            while (due_s := due_s + every_s) < end_s:
                await asyncio.sleep(due_s - loop.time())
                tasks.create_task(self.kill(self._somebody()))
                kills += 1
                if kills % KILLS_A_PAUSE == KILLS_A_PAUSE // 2:
                    await asyncio.sleep(every_s / 2)
                    tasks.create_task(self.pause(self._somebody(), self._rng.uniform(*PAUSES_S)))
            await asyncio.sleep(end_s - loop.time())

    async def kill(self, name: str) -> Harm:
        """Kill a process as `kill -9` does; return when the supervisor has its successor ready."""
        harm = self._note("kill -9", name)
        self._stage.signal(name, signal.SIGKILL)
        harm.over_s = await self._stage.ready_since(name, harm.at_s)
        return harm

    async def pause(self, name: str, seconds: float) -> None:
        """Stop a process for so many *seconds*."""
        harm = self._note(f"SIGSTOP for {seconds:.1f} s", name)
        self._paused.add(name)
        self._stage.signal(name, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            self._stage.signal(name, signal.SIGCONT)
            self._paused.discard(name)
        harm.over_s = asyncio.get_running_loop().time()

    def _somebody(self) -> str:
        return self._rng.choice([name for name in self._stage.running() if name not in self._paused])

    def _note(self, deed: str, name: str) -> Harm:
        harm = Harm(deed, name, self._stage.role_of(name), asyncio.get_running_loop().time())
        self.harms.append(harm)
        self._show(f"{deed} {name}")
        return harm
