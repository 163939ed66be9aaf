"""Audio of a client that waits a moment for more of it, where nobody would notice: together it costs less.

Each message takes its way through resampling, the session and the bus to the vad; three that go together take it once.
When audio may wait, the session knows: not where a turn may end, nor where an answer may be interrupted.
"""

import asyncio
from collections.abc import Callable
from typing import Final

# So much goes together: three windows of Silero.
ENOUGH_MS: Final = 96
# What a client sent before it stopped sending goes on after so long at the latest, twice this at most.
LONGEST_S: Final = 0.15


class Held:
    """Holds less than *enough* bytes of one client's audio; *pour* is given what was held, joined.

    *patient* tells whether audio may wait now.
    """

    def __init__(self, pour: Callable[[bytes], None], patient: Callable[[], bool]) -> None:
        self._give = pour
        self._patient = patient
        self._pieces: list[bytes] = []
        self._size = 0
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._is_stale = False  # whether something waits since the timer was set

    def put(self, audio: bytes, enough: int) -> None:
        """Take *audio*; pour it out with what was held, unless it may wait."""
        if self._size and len(audio) >= enough:
            self.pour()  # so that little is ever joined
        self._pieces.append(audio)
        self._size += len(audio)
        if self._size >= enough or not self._patient():
            self.pour()
        elif self._timer is None:
            self._timer = self._loop.call_later(LONGEST_S, self._look)

    def pour(self) -> None:
        """Give on what is held, if anything is: something else has come, or must not wait."""
        self._is_stale = False
        if self._size:
            audio = b"".join(self._pieces) if len(self._pieces) > 1 else self._pieces[0]
            self._pieces.clear()
            self._size = 0
            self._give(audio)

    def close(self) -> None:
        """Forget what is held: the client is gone. Idempotent."""
        self._pieces.clear()
        self._size = 0
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        # One timer at a time, which is not put off: what it finds may have come a moment ago.
        self._timer = None
        if not self._size:
            return
        if self._is_stale:
            self.pour()
        else:
            self._is_stale = True
            self._timer = self._loop.call_later(LONGEST_S, self._look)
