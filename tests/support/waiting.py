"""Waiting for what nobody tells of: other threads, other ends of connections, what has no event."""

import asyncio
from collections.abc import Callable

from tests.support.bus import PATIENCE_S


async def until(holds: Callable[[], object]) -> None:
    """Wait until something holds, not for ever.

    Raises:
        TimeoutError: it does not within `PATIENCE_S`.
    """
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.002)
