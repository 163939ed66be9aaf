"""What all Silero engines share: where the package's files are, and what a session keeps from window to window.

A window is 512 samples, and the network wants the 64 before it again. State: LSTM, [2, N, 128].
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np

from bus.errors import ConfigurationError
from services.vad.engine import Floats, Rows, StateRows

WINDOW: Final = 512
CONTEXT: Final = 64
LSTM: Final = 128
# The probability rises a window or more after the speech, on the recordings that the project is tried with.
ONSET_LAG_MS: Final = 32


class SileroRows:
    """The sessions: of each the last samples it heard, then both halves of the LSTM's state."""

    def __init__(self) -> None:
        self._rows = StateRows(np.zeros(CONTEXT + 2 * LSTM, np.float32))
        self.take = self._rows.take
        self.free = self._rows.free

    def read(self, rows: Rows) -> Floats:
        """Return a copy of all that is kept [N, 320]: 64 samples, then the LSTM's output and its cells, 128 each."""
        return self._rows.values[rows]

    def write(self, rows: Rows, kept: Floats) -> None:
        """Keep what `read` returned, changed."""
        self._rows.values[rows] = kept

    def gather(self, windows: Floats, rows: Rows) -> tuple[Floats, Floats]:
        """Return what the network takes: *windows* [N, 512] with their context [N, 576], and the state [2, N, 128]."""
        kept = self._rows.values[rows]
        state = np.ascontiguousarray(kept[:, CONTEXT:].reshape(-1, 2, LSTM).swapaxes(0, 1))
        return np.concatenate([kept[:, :CONTEXT], windows], axis=1), state

    def scatter(self, windows: Floats, rows: Rows, state: Floats) -> None:
        """Keep the end of *windows* and the *state* after them."""
        values = self._rows.values
        values[rows, :CONTEXT] = windows[:, -CONTEXT:]
        values[rows, CONTEXT:] = state.swapaxes(0, 1).reshape(len(rows), -1)


def packaged_file(engine: str, names: tuple[str, ...]) -> Path:
    """Return the first of the files *names* in the silero-vad package, without importing it, for the engine *engine*.

    Raises:
        ConfigurationError: the package is not installed, or holds no such file.
    """
    spec = find_spec("silero_vad")
    if spec is None or spec.origin is None:
        remedy = f"pip install --no-deps -r services/vad/requirements/{engine}.txt"
        raise ConfigurationError(f"engine {engine}: no package silero-vad; {remedy}")
    folder = Path(spec.origin).parent / "data"
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise ConfigurationError(f"engine {engine}: no {names[0]} in {folder}; pip install --no-deps -U silero-vad")


def first_line(error: Exception) -> str:
    """Return the beginning of what *error* says."""
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
