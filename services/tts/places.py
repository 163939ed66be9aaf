"""Places at the engine: who waits longest is not first, who needs one most is."""

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Places:
    """A semaphore of *count* places with an order of urgency.

    The queue holds at most one entry for each response, so the service's capacity bounds it.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()

    @asynccontextmanager
    async def taken(self, lead_s: float) -> AsyncIterator[None]:
        """Hold a place. *lead_s*: audio that the response still has to send; who has least goes first."""
        await self._take(lead_s)
        try:
            yield
        finally:
            self._give()

    async def _take(self, lead_s: float) -> None:
        if self._free and not self._waiting:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (lead_s, next(self._numbers), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it was given and cannot be used any more
                self._give()
            raise

    def _give(self) -> None:
        self._free += 1
        while self._free and self._waiting:
            turn = heapq.heappop(self._waiting)[2]
            if not turn.done():
                self._free -= 1
                turn.set_result(None)
