"""Does things at the moments that the schedule says, and notes how late it was itself."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from launcher.load.findings import Findings

# Name of the generator's own lag among the times.
LAG: Final = "generator_lag"


class Clock:
    """The run's time: 0 ms is the monotonic moment *start_s*. Made on a running event loop."""

    def __init__(self, start_s: float, findings: Findings) -> None:
        self._loop = asyncio.get_running_loop()
        self._start_s = start_s
        # The loop's clock is the monotonic one, give or take its own resolution.
        self._offset_s = self._loop.time() - time.monotonic()
        self._lags = findings.times.setdefault(LAG, [])
        wall_s = time.time() - time.monotonic()
        self._unix_start_us = (start_s + wall_s) * 1e6

    def now_ms(self) -> float:
        """Return how far the run is."""
        return (time.monotonic() - self._start_s) * 1000

    def at(self, due_ms: float, do: Callable[[float], None]) -> None:
        """Call *do* with *due_ms* at that moment, or as soon after it as can be."""
        when_s = self._start_s + self._offset_s + due_ms / 1000
        self._loop.call_at(when_s, self._due, due_ms, do)

    def unix_us(self, ms: float) -> int:
        """Return a moment of the run as stamps in frames tell it: microseconds since 1970."""
        return int(self._unix_start_us + ms * 1000)

    def ms_of(self, unix_us: int) -> float:
        """Return the moment of the run that a stamp of this host tells."""
        return (unix_us - self._unix_start_us) / 1000

    def _due(self, due_ms: float, do: Callable[[float], None]) -> None:
        self._lags.append(max(0.0, self.now_ms() - due_ms))
        do(due_ms)
