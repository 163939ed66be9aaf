"""What a speech detector must offer to be used here, and the rows of numbers in which engines keep their sessions."""

from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.intp]

# Rows there are at first; doubled whenever they run out.
FIRST_ROWS: Final = 64


class Engine(Protocol):
    """Tells speech from anything else, for the windows of many sessions in one step.

    A session is known by a number, its *row*. The service calls one method at a time: `step` on the event loop or on a
    thread, the others on the event loop.
    """

    name: str
    model: str
    window_samples: int
    """Length of a window at 16 kHz."""
    most_windows: int
    """How many a step may have: more would only make the others wait."""
    enough_windows: int
    """In a step of so many a window costs hardly more than in a larger one."""
    pace_s: float
    """How long a step of many sessions may wait for so many: no more than nobody notices before a turn ends."""
    inline_windows: int
    """Steps of up to so many run on the event loop: handing them to a thread would take longer than they hold it up."""
    onset_lag_ms: int
    """So much speech at least came before the first window that the engine calls speech."""

    def load(self) -> None:
        """Make the model ready.

        Raises:
            ConfigurationError: something is missing; the message names the remedy.
        """
        ...

    def new_state(self) -> int:
        """Return the row of a new session, which has heard nothing."""
        ...

    def free_state(self, row: int) -> None:
        """Forget the session of *row*."""
        ...

    def step(self, windows: Floats, rows: Rows) -> Floats:
        """Return the speech probabilities [N], 0..1, of the next windows [N, window_samples], -1..1, of N sessions.

        No row may occur twice. What a session gets does not depend on the others in the batch, but for rounding (1e-5).

        Raises:
            EngineError: the model failed.
        """
        ...


class StateRows:
    """The state of every session in one array, a row each: a batch is gathered and scattered by one index.

    *initial* is the row of a session that has heard nothing. Rows are as many as there are leases; the array never
    shrinks, freed rows are used again.
    """

    def __init__(self, initial: Floats) -> None:
        self._initial = initial
        self.values: Floats = np.empty((0, *initial.shape), np.float32)
        self._free: list[int] = []

    def take(self) -> int:
        """Return a row set to its initial values."""
        if not self._free:
            used = len(self.values)
            added = max(used, FIRST_ROWS)
            self.values = np.concatenate([self.values, np.empty((added, *self._initial.shape), np.float32)])
            self._free = list(range(used + added - 1, used - 1, -1))
        row = self._free.pop()
        self.values[row] = self._initial
        return row

    def free(self, row: int) -> None:
        """Give *row* back."""
        self._free.append(row)
