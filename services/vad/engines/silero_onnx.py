"""Silero VAD in ONNX Runtime: for any of Silero's ONNX files, and what the engine `silero` is held against.

That one runs the same network, sooner. The model, 1.3 MB, stands inside the `silero-vad` package, which is never
imported: it would import torch. Of the files there `silero_vad_16k_op15.onnx` is preferred to
`silero_vad.onnx`: the same numbers at the same speed, loaded in a third of the time (their batched and single results
are identical, bit by bit, on x86-64; the other files have no batch, or differ by 1e-6).
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import BaseModel, Field

from bus.errors import ConfigurationError, EngineError
from services.vad.engine import Floats, Rows
from services.vad.silero import ONSET_LAG_MS, WINDOW, SileroRows, first_line, packaged_file

FILES: Final = ("silero_vad_16k_op15.onnx", "silero_vad.onnx")
REMEDY: Final = "pip install --no-deps -r services/vad/requirements/silero-onnx.txt"
SAMPLE_RATE: Final = np.array(16_000, np.int64)


class Settings(BaseModel):
    """What this engine can be told."""

    model: str = Field("", description="ONNX file to use; empty: the one in the silero-vad package")
    threads: int = Field(1, ge=1, description="threads of ONNX Runtime; one is quickest up to hundreds of sessions")


class Engine:
    """Runs the model on any number of sessions at once."""

    name = "silero-onnx"
    window_samples = WINDOW
    most_windows = 32  # 1.8 ms. Beyond 16 each more costs as much (57 us), so more would only make the others wait
    enough_windows = 16
    inline_windows = 4
    onset_lag_ms = ONSET_LAG_MS
    pace_s = 0.004

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._session: Any = None  # onnxruntime has no types
        self._rows = SileroRows()
        self.model = ""

    def load(self) -> None:
        """Open the model and run it once, so that the first session does not wait for its memory."""
        path = Path(self._settings.model) if self._settings.model else packaged_file(self.name, FILES)
        try:
            import onnxruntime
        except ImportError as error:
            raise ConfigurationError(f"engine {self.name}: {error}; {REMEDY}") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._settings.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors; it warns of the model's own unused initialisers
        # Threads that spin between steps would take the other processes' cores.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            row = self.new_state()
            self.step(np.zeros((1, WINDOW), np.float32), np.array([row]))
            self.free_state(row)
        except Exception as error:  # onnxruntime raises types of its own, which share no ancestor but this
            raise ConfigurationError(
                f"engine {self.name}: cannot use {path}: {first_line(error)}; "
                "leave --model out or name a Silero ONNX file"
            ) from error
        self.model = path.stem

    def new_state(self) -> int:
        """Return the row of a session that has heard nothing."""
        return self._rows.take()

    def free_state(self, row: int) -> None:
        """Forget the session of *row*."""
        self._rows.free(row)

    def step(self, windows: Floats, rows: Rows) -> Floats:
        """Return the speech probabilities [N] of *windows* [N, 512]."""
        heard, state = self._rows.gather(windows, rows)
        try:
            probabilities, after = self._session.run(None, {"input": heard, "state": state, "sr": SAMPLE_RATE})
        except Exception as error:
            raise EngineError(f"{self.name}: {first_line(error)}") from error
        self._rows.scatter(windows, rows, after)
        result: Floats = probabilities[:, 0]
        return result
