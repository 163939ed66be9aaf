"""All clients of one generator process."""

import asyncio
from collections.abc import Callable
from typing import Final

from launcher.load.clients.client import CONNECTS_AHEAD_MS, Client
from launcher.load.clients.script import script
from launcher.load.clock import Clock
from launcher.load.findings import Findings
from launcher.load.job import Job
from launcher.load.speech import Phrase

CONNECTED_AT_ONCE: Final = 20


class ClientCrowd:
    """Carries out the schedule of a job as clients of the gateway."""

    def __init__(self, job: Job) -> None:
        made = script(job.kind, job.phrases, job.schedule.chunk_ms)
        self._clients = [Client(job.kind, job.target, visit, made) for visit in job.schedule.visits]
        self._returning: set[asyncio.Task[None]] = set()

    async def connect(self) -> None:
        """Connect whoever is there from the beginning."""
        first = [client for client in self._clients if client.visit.number == 0]
        for start in range(0, len(first), CONNECTED_AT_ONCE):
            await asyncio.gather(*(client.connect() for client in first[start : start + CONNECTED_AT_ONCE]))

    def begin(self, clock: Clock, findings: Findings, phrases: tuple[Phrase, ...]) -> None:  # noqa: ARG002 - in the script
        """Have the clock do everything."""
        for client in self._clients:
            if client.visit.number == 0:
                client.begin(clock, findings)
            else:
                clock.at(client.visit.begins_ms - CONNECTS_AHEAD_MS, self._comes_back(client, clock, findings))

    @property
    def settled(self) -> bool:
        """Whether all that is waited for has come."""
        return all(client.settled for client in self._clients)

    def settle(self) -> None:
        """Count, and say goodbye."""
        for client in self._clients:
            client.settle()

    async def close(self) -> None:
        """Wait for nobody who is still coming."""
        for task in self._returning:
            task.cancel()
        await asyncio.gather(*self._returning, return_exceptions=True)

    def _comes_back(self, client: Client, clock: Clock, findings: Findings) -> Callable[[float], None]:
        async def come() -> None:
            await client.connect()
            client.begin(clock, findings)

        def due(_: float) -> None:
            task = asyncio.ensure_future(come())
            self._returning.add(task)
            task.add_done_callback(self._returning.discard)

        return due
