"""Silero VAD as matrix products in numpy: the weights of its ONNX file, sooner than ONNX Runtime.

The file stands inside the `silero-vad` package, which is never imported: it would import torch. The package's
`silero_vad_16k.safetensors` is another training of the network, which decides otherwise here and there. What is
computed, and why it costs less, says `services/vad/silero_network.py`.
"""

from pathlib import Path
from typing import Final

import numpy as np
from google.protobuf.message import DecodeError
from pydantic import BaseModel, Field

from bus.errors import ConfigurationError
from services.vad import onnx_tensors
from services.vad.engine import Floats, Rows
from services.vad.silero import ONSET_LAG_MS, WINDOW, SileroRows, first_line, packaged_file
from services.vad.silero_network import MOST, Network

FILES: Final = ("silero_vad_16k_op15.onnx",)
PREFIX: Final = "model."
REMEDY: Final = "pip install --no-deps -r services/vad/requirements/silero.txt"


class Settings(BaseModel):
    """What this engine can be told."""

    model: str = Field("", description="ONNX file whose weights to use; empty: the one in the silero-vad package")
    threads: int = Field(
        1, ge=1, description="threads of the matrix products; one is quickest for hundreds of sessions"
    )


class Engine:
    """Runs the network on any number of sessions at once; a batch gives what each gets alone, to within 1e-5."""

    name = "silero"
    window_samples = WINDOW
    most_windows = MOST  # 1 ms
    enough_windows = 32
    inline_windows = MOST
    onset_lag_ms = ONSET_LAG_MS
    pace_s = 0.010  # with 100 sessions some 28 windows. A step after a rest costs 0.35 ms before it costs by the window

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._rows = SileroRows()
        self.model = ""

    def load(self) -> None:
        """Read the weights and hear one window, so that the first session does not wait for what happens once.

        Raises:
            ConfigurationError: a package or the file is missing, or it holds another network.
        """
        path = Path(self._settings.model) if self._settings.model else packaged_file(self.name, FILES)
        try:
            import threadpoolctl
        except ImportError as error:
            raise ConfigurationError(f"engine {self.name}: {error}; {REMEDY}") from error
        if np.lib.NumpyVersion(np.__version__) < "2.0.0":
            raise ConfigurationError(f"engine {self.name}: numpy is {np.__version__}; {REMEDY}")
        # The OpenBLAS in numpy's wheels has one pool of threads for the process: the limit holds on all of ours.
        threadpoolctl.threadpool_limits(self._settings.threads, "blas")
        try:
            tensors = onnx_tensors.read(path)
            self._network = Network({name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()})
        except (OSError, DecodeError, ValueError) as error:
            raise ConfigurationError(
                f"engine {self.name}: cannot use {path}: {first_line(error)}; leave --model out, name a file like "
                f"{FILES[0]}, or give another Silero ONNX file to --engine silero-onnx"
            ) from error
        row = self.new_state()
        self.step(np.zeros((1, WINDOW), np.float32), np.array([row]))
        self.free_state(row)
        self.model = path.stem

    def new_state(self) -> int:
        """Return the row of a session that has heard nothing."""
        return self._rows.take()

    def free_state(self, row: int) -> None:
        """Forget the session of *row*."""
        self._rows.free(row)

    def step(self, windows: Floats, rows: Rows) -> Floats:
        """Return the speech probabilities [N] of *windows* [N, 512]."""
        kept = self._rows.read(rows)
        probabilities = self._network.hear(windows, kept)
        self._rows.write(rows, kept)
        return probabilities
