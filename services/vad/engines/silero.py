"""Silero VAD, an ONNX model of 1.3 MB, in ONNX Runtime.

The model stands inside the `silero-vad` package, which is never imported: it would import torch. Of the files there
`silero_vad_16k_op15.onnx` is preferred to `silero_vad.onnx`: the same numbers at the same speed, loaded in a third of
the time (their batched and single results are identical, bit by bit, on x86-64; the other files have no batch, or
differ by 1e-6). A window is 512 samples, and the model wants the 64 before it again. State: LSTM, [2, N, 128].
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import BaseModel, Field

from bus.errors import ConfigurationError, EngineError
from services.vad.engine import Floats, Rows, StateRows

WINDOW: Final = 512
CONTEXT: Final = 64
LSTM: Final = 128
FILES: Final = ("silero_vad_16k_op15.onnx", "silero_vad.onnx")
SAMPLE_RATE: Final = np.array(16_000, np.int64)


class Settings(BaseModel):
    """What this engine can be told."""

    model: str = Field("", description="ONNX file to use; empty: the one in the silero-vad package")
    threads: int = Field(1, ge=1, description="threads of ONNX Runtime; one is quickest up to hundreds of sessions")


class Engine:
    """Runs the model on any number of sessions at once."""

    name = "silero"
    window_samples = WINDOW

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._session: Any = None  # onnxruntime has no types
        # A row: the last samples heard, then both halves of the LSTM's state.
        self._rows = StateRows(np.zeros(CONTEXT + 2 * LSTM, np.float32))
        self.model = ""

    def load(self) -> None:
        """Open the model and run it once, so that the first session does not wait for its memory."""
        path = Path(self._settings.model) if self._settings.model else packaged_model()
        try:
            import onnxruntime
        except ImportError as error:
            raise ConfigurationError(f"engine silero: {error}; pip install onnxruntime") from error
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
                f"engine silero: cannot use {path}: {_first_line(error)}; leave --model out or name a Silero ONNX file"
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
        kept = self._rows.values[rows]  # gathers: a copy
        state = np.ascontiguousarray(kept[:, CONTEXT:].reshape(-1, 2, LSTM).swapaxes(0, 1))
        heard = np.concatenate([kept[:, :CONTEXT], windows], axis=1)
        try:
            probabilities, after = self._session.run(None, {"input": heard, "state": state, "sr": SAMPLE_RATE})
        except Exception as error:
            raise EngineError(f"silero: {_first_line(error)}") from error
        kept[:, :CONTEXT] = windows[:, -CONTEXT:]
        kept[:, CONTEXT:] = after.swapaxes(0, 1).reshape(len(rows), -1)
        self._rows.values[rows] = kept
        result: Floats = probabilities[:, 0]
        return result


def packaged_model() -> Path:
    """Return the model file inside the silero-vad package, without importing it.

    Raises:
        ConfigurationError: the package is not installed, or holds no such file.
    """
    spec = find_spec("silero_vad")
    if spec is None or spec.origin is None:
        raise ConfigurationError("engine silero: no package silero-vad; pip install --no-deps silero-vad")
    folder = Path(spec.origin).parent / "data"
    for name in FILES:
        if (folder / name).is_file():
            return folder / name
    raise ConfigurationError(f"engine silero: no {FILES[0]} in {folder}; pip install --no-deps -U silero-vad")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
