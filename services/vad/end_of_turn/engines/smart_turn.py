"""Smart Turn v3 (BSD-2): a Whisper-tiny encoder of 8 MB that hears intonation and words of 23 languages, as ONNX.

Input `input_features` [N, 80, 800], output the probability [N, 1] that the turn is complete (called `logits`, though
the sigmoid is in the model). It was trained on turns up to a pause of some 200 ms.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from bus.errors import ConfigurationError, EngineError
from services.vad.end_of_turn.features import FRAMES, MELS, log_mel
from services.vad.engine import Floats

# In the repository on the hub; its neighbour for GPUs has the same numbers unquantised and is slower on a CPU.
FILE: Final = "smart-turn-v3.2-cpu.onnx"
INPUT: Final = "input_features"
REMEDY: Final = "pip install -r services/vad/requirements/smart-turn.txt"


class Settings(Protocol):
    """What this engine is told; see `services.vad.settings`."""

    end_of_turn_model: str
    end_of_turn_threads: int


class Engine:
    """Runs the model, on several turns at once where the file allows it."""

    name = "smart-turn"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._session: Any = None  # onnxruntime has no types
        self._batches = False
        self.model = ""

    def load(self) -> None:
        """Open the model and run it once.

        Raises:
            ConfigurationError: a package is missing, the model is not there or is another one.
        """
        try:
            import onnxruntime
        except ImportError as error:
            raise ConfigurationError(f"smart-turn: {error}; {REMEDY}") from error
        path = found(self._settings.end_of_turn_model)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._settings.end_of_turn_threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors
        # Threads that spin between pauses would take the other processes' cores.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            self._check()
            self.judge([np.zeros(0, np.float32)])
        except Exception as error:  # onnxruntime raises types of its own, which share no ancestor but this
            raise ConfigurationError(
                f"smart-turn: cannot use {path}: {_first_line(error)}; "
                "name a Smart Turn v3 file with --end_of_turn_model"
            ) from error
        self.model = path.stem

    def judge(self, turns: Sequence[Floats]) -> list[float]:
        """Return for each of *turns* (16 kHz, -1..1; the last 8 s count) the probability that it is complete.

        Raises:
            EngineError: the model failed.
        """
        features = np.stack([log_mel(turn) for turn in turns])
        batches = [features] if self._batches else np.split(features, len(features))
        try:
            found = [self._session.run(None, {INPUT: batch})[0].reshape(len(batch)) for batch in batches]
        except Exception as error:
            raise EngineError(f"smart-turn: {_first_line(error)}") from error
        probabilities: list[float] = np.concatenate(found).tolist()
        return probabilities

    def _check(self) -> None:
        inputs = {each.name: each.shape for each in self._session.get_inputs()}
        shape = inputs.get(INPUT, [])
        if len(inputs) != 1 or shape[1:] != [MELS, FRAMES]:
            raise EngineError(f"it takes {inputs}, not {INPUT} [N, {MELS}, {FRAMES}]")
        self._batches = not isinstance(shape[0], int)


def found(model: str) -> Path:
    """Return the file that *model* means: a path, or a name on the hub, from where it is fetched once.

    Raises:
        ConfigurationError: it cannot be had; the message names the remedy.
    """
    path = Path(model).expanduser()
    if path.is_file():
        return path
    parts = model.split("/")
    if path.is_absolute() or model.startswith((".", "~")) or not 2 <= len(parts) <= 3:  # noqa: PLR2004 - see below
        raise ConfigurationError(
            f"smart-turn: no file {model}; give --end_of_turn_model a file, OWNER/NAME or OWNER/NAME/FILE"
        )
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise ConfigurationError(f"smart-turn: {error}; {REMEDY}") from error
    name = parts[2] if parts[2:] else FILE
    try:
        return Path(hf_hub_download("/".join(parts[:2]), name))
    except Exception as error:  # of httpx, of the hub, of the file system
        raise ConfigurationError(
            f"smart-turn: cannot get {name} of {parts[0]}/{parts[1]} from the hub: {_first_line(error)}; "
            "give --end_of_turn_model a local file"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
