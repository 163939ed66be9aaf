"""One look at the network for many frames: with many clients the loop rests a moment between its rounds.

A frame that wakes the process by itself finds cold caches: with 100 sessions the gateway takes a fifth less when frames
are handled together, and so does the vad that gets them together then. Network cards do it with interrupts, for the
same reason. A frame waits half a round, which is little beside the silence that ends a turn, and with a few clients
nothing waits at all.
"""

import asyncio
import time
from typing import Final

from gateway.garbage import Clients

# Up to so many sessions nothing is ever held up; rounds have their full length at `MANY`.
FEW: Final = 16
MANY: Final = 64
# So often the loop turns in a round: what comes is read and handled, answers to it are read, handed on, written.
TURNS: Final = 3
LOOK_EVERY_S: Final = 0.25


async def keep(clients: Clients, round_ms: float) -> None:
    """Hold rounds of *round_ms* for ever, the time that work takes included; 0: none."""
    loop = asyncio.get_running_loop()
    began_s = 0.0
    while round_ms:
        crowd = min(1.0, (clients.sessions - FEW) / (MANY - FEW))
        if crowd <= 0:
            await asyncio.sleep(LOOK_EVERY_S)
            continue
        for _ in range(TURNS):
            await asyncio.sleep(0)
        left_s = began_s + crowd * round_ms / 1000 - loop.time()
        if left_s > 0:
            time.sleep(left_s)  # noqa: ASYNC251 - that nothing runs meanwhile is the purpose
        began_s = loop.time()
