"""Replaces the services of a running suite one after another: by turns in good order, and by `kill -9`."""

import asyncio
from collections import Counter
from itertools import count
from typing import Any, Final

from launcher.bench.suite import Suite

ROLES: Final = ("vad", "asr", "llm", "tts")
# Longer than `drain_timeout_s`, after which a service ends whatever it does.
DRAIN_S: Final = 40.0


class Replacer:
    """Keeps a second replica of every role, and puts another in its place; the first, named as its role, stays."""

    def __init__(self, suite: Suite) -> None:
        self._suite = suite
        self._numbers = count(2)
        self._second: dict[str, str] = {}
        self._due = 0
        self.counts: Counter[str] = Counter()
        """What was done, `asr killed` and so on."""
        self.wrong: list[str] = []

    async def begin(self) -> None:
        """Start the second replicas; return when they are ready."""
        for role in ROLES:
            self._start(role)
        await self._until_ready()

    async def run(self, every_s: float, over: asyncio.Event) -> None:
        """Replace a service every so many seconds until it is *over*."""
        while not over.is_set():
            try:
                async with asyncio.timeout(every_s):
                    await over.wait()
            except TimeoutError:
                await self.replace()

    async def replace(self) -> None:
        """Replace the next one: all roles by a drain, then all by a kill, and so on."""
        role = ROLES[self._due % len(ROLES)]
        kills = self._due // len(ROLES) % 2 == 1
        self._due += 1
        old = self._second[role]
        self.counts[f"{role} {'killed' if kills else 'drained'}"] += 1
        if kills:
            self._suite.kill(old)
            del self._suite.processes[old]
            self._start(role)
            await self._until_ready()
            return
        self._start(role)
        await self._until_ready()
        process = self._suite.drain(old)
        try:
            status = await asyncio.to_thread(process.wait, DRAIN_S)
        except TimeoutError:
            self.wrong.append(f"{old} did not end when it was drained")
        else:
            if status:
                self.wrong.append(f"{old} exited with {status} when it was drained")

    def _start(self, role: str) -> None:
        name = self._second[role] = f"{role}-{next(self._numbers)}"
        self._suite.start(role, name, ["--health_port", "0"])

    async def _until_ready(self) -> None:
        """Wait until the gateway knows every process that runs, and nobody else."""
        wanted = sorted(name.partition("-")[0] for name in self._suite.processes if name != "gateway")

        def are_ready(health: dict[str, Any]) -> bool:
            return sorted(one["role"] for one in health.get("services", ()) if one["ready"]) == wanted

        await asyncio.to_thread(self._suite.wait_for, are_ready)
