"""Silero VAD, the TorchScript model, in torch: for a GPU.

The model is the file `silero_vad.jit` in the `silero-vad` package, which is never imported: it would set torch's
threads for the whole process. Of the file only the inner network for 16 kHz is called: the outer one keeps the state of
one batch in itself and forgets it when the batch's size changes. Here each session's is kept in this process's memory.
On a CPU the engine `silero` costs less, as `make bench-vad` shows.
"""

import warnings
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import BaseModel, Field

from bus.errors import ConfigurationError, EngineError
from services.vad.engine import Floats, Rows
from services.vad.silero import ONSET_LAG_MS, WINDOW, SileroRows, first_line, packaged_file

FILES: Final = ("silero_vad.jit",)
REMEDY: Final = "pip install -r services/vad/requirements/silero-torch.txt"
# TorchScript looks at the first two runs of a network before it settles; they take a tenth of a second.
WARM_UP: Final = (1, 1, 2, 2)


class Settings(BaseModel):
    """What this engine can be told."""

    model: str = Field("", description="TorchScript file to use; empty: the one in the silero-vad package")
    device: str = Field("cpu", pattern=r"^(cpu|cuda(:\d+)?)$", description="cpu, cuda or cuda:N")
    threads: int = Field(1, ge=1, description="threads of torch on the CPU")


class Engine:
    """Runs the network on any number of sessions at once; a batch gives what each gets alone, to within 1e-5."""

    name = "silero-torch"
    window_samples = WINDOW
    most_windows = 512
    enough_windows = 128
    inline_windows = 4
    onset_lag_ms = ONSET_LAG_MS
    pace_s = 0.016  # with 100 sessions some 50 windows, which cost half of what 12 do

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._torch: Any = None  # not imported before `load`
        self._network: Any = None
        self._rows = SileroRows()
        self.model = ""

    def load(self) -> None:
        """Open the model and run it, so that no session waits for what TorchScript does at first.

        Raises:
            ConfigurationError: torch, the file or the device is not there.
        """
        path = Path(self._settings.model) if self._settings.model else packaged_file(self.name, FILES)
        try:
            import torch
        except ImportError as error:
            raise ConfigurationError(f"engine {self.name}: {error}; {REMEDY}") from error
        device = self._settings.device
        if device != "cpu" and not torch.cuda.is_available():
            raise ConfigurationError(f"engine {self.name}: torch finds no GPU here; leave --device out")
        self._torch = torch
        torch.set_num_threads(self._settings.threads)
        try:
            with warnings.catch_warnings():  # TorchScript is to be torch.export one day; the package has no such file
                warnings.simplefilter("ignore", DeprecationWarning)
                whole: Any = torch.jit.load(str(path), map_location=device)
                self._network = torch.jit.freeze(whole.eval()._model)  # noqa: SLF001 - the network without its state
            for size in WARM_UP:
                rows = [self.new_state() for _ in range(size)]
                self.step(np.zeros((size, WINDOW), np.float32), np.array(rows))
                for row in rows:
                    self.free_state(row)
        except Exception as error:  # torch raises RuntimeError and its children, files of another kind much else
            raise ConfigurationError(
                f"engine {self.name}: cannot use {path}: {first_line(error)}; leave --model out or name its jit file"
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
        torch, device = self._torch, self._settings.device
        heard, state = self._rows.gather(windows, rows)
        try:
            with torch.inference_mode():
                found, after = self._network(torch.from_numpy(heard).to(device), torch.from_numpy(state).to(device))
                probabilities: Floats = found[:, 0].cpu().numpy()
                self._rows.scatter(windows, rows, after.cpu().numpy())
        except Exception as error:  # out of memory among them
            raise EngineError(f"{self.name}: {first_line(error)}") from error
        return probabilities
