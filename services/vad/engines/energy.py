"""A level detector: speech is what stands out of the noise. No model; for tests and tiny machines.

A window's probability is 0.5 where its level reaches the limit, and 0 or 1 from 5 dB below or above it. The limit is
`threshold_dbfs` or, where the room is noisier, `margin_db` above the noise floor, which follows the quietest level
down at once and rises 1 dB a second. Anything loud is speech to it: music, a slammed door.
"""

from typing import Final

import numpy as np
from pydantic import BaseModel, Field

from services.vad.engine import Floats, Rows, StateRows

WINDOW: Final = 512
# The floor's rise in a window of 32 ms at 1 dB a second: a turn of 20 s lifts it by 20 dB at most.
RISE_DB: Final = 0.032
# A window of digital silence: below the last bit of 16 (-96 dBFS).
SILENCE_DBFS: Final = -100.0
RAMP_DB: Final = 10.0  # from 0 to 1


class Settings(BaseModel):
    """What this engine can be told."""

    threshold_dbfs: float = Field(-40.0, ge=-100, le=0, description="level (RMS, full scale is 0) that is speech")
    margin_db: float = Field(9.0, ge=0, description="how far above the noise floor speech must be")


class Engine:
    """Measures levels."""

    name = "energy"
    model = ""
    window_samples = WINDOW
    most_windows = 32
    enough_windows = 16
    inline_windows = 32
    onset_lag_ms = 0
    pace_s = 0.004

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # A row: the noise floor in dBFS. It begins low, so that the threshold alone decides at first.
        self._floors = StateRows(np.array(SILENCE_DBFS, np.float32))

    def load(self) -> None:
        """Nothing to load."""

    def new_state(self) -> int:
        """Return the row of a session that has heard nothing."""
        return self._floors.take()

    def free_state(self, row: int) -> None:
        """Forget the session of *row*."""
        self._floors.free(row)

    def step(self, windows: Floats, rows: Rows) -> Floats:
        """Return the speech probabilities [N] of *windows* [N, 512]."""
        # The mean is taken away: a microphone's offset (DC) is no sound.
        power = np.square(windows - windows.mean(axis=1, keepdims=True)).mean(axis=1)
        levels = 10 * np.log10(np.maximum(power, 10 ** (SILENCE_DBFS / 10)))
        floors = np.minimum(self._floors.values[rows] + RISE_DB, levels)
        self._floors.values[rows] = floors
        limits = np.maximum(self._settings.threshold_dbfs, floors + self._settings.margin_db)
        result: Floats = np.clip((levels - limits) / RAMP_DB + 0.5, 0, 1).astype(np.float32)
        return result
