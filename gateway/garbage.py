"""When Python looks for what refers to itself in circles: seldom while somebody talks, always when all have gone."""

import asyncio
import gc
from typing import Final, Protocol

# Objects made before the newest are looked through for cycles; Python's own 700 cost 5 % of the time at 100 sessions.
NEWEST: Final = 10_000
LOOK_EVERY_S: Final = 1.0
# Of nobody being there: at once, and when connections that were cut off have been let go (5 s) as well.
COLLECT_AT_LOOK: Final = (1, 7)


class Clients(Protocol):
    """Whoever knows how many clients there are."""

    @property
    def sessions(self) -> int:
        """Number of sessions."""
        ...


async def collect(clients: Clients) -> None:
    """Collect for ever what closed sessions leave, when nobody would wait for it.

    Objects of a session refer to one another in circles (30 kB of them, the audio is freed before). To look through
    those of all that live takes a tenth of a second or more: meanwhile Python does it only after thousands of sessions.
    """
    # What is here now stays, and next to nothing that a frame leaves behind is a cycle.
    gc.collect()
    gc.freeze()
    gc.set_threshold(NEWEST)
    quiet_looks = 0
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        quiet_looks = 0 if clients.sessions else quiet_looks + 1
        if quiet_looks in COLLECT_AT_LOOK:
            gc.collect()
