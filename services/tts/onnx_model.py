"""A model of ONNX Runtime as the engines here use it: loaded with a clear error, stopped in the middle of a run."""

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, Field

from bus.errors import ConfigurationError

# Nothing that ONNX Runtime writes to standard error on its own; what matters it raises.
_FATAL: Final = 4
# What of a message is repeated: some quote half the model.
_MESSAGE_CHARACTERS: Final = 300
# More clauses than this are never made at a time, whatever `--threads` says.
WORKERS: Final = 16


class Running(BaseModel):
    """Where a model runs."""

    device: str = Field("auto", pattern="^(auto|cpu|cuda)$", description="cpu, cuda, or auto: cuda where it is")
    cpu_threads: int = Field(
        default_factory=lambda: len(os.sched_getaffinity(0)), ge=1, description="default: one for each core"
    )


def load(path: Path, where: Running, inputs: Collection[str], what: str) -> Any:
    """Return an `InferenceSession` of the model at *path*, which must have *inputs*. *what* names it in errors.

    Raises:
        ConfigurationError: no such file, not a model, another model than *what*, or no such device here.
    """
    import onnxruntime

    if not path.is_file():
        raise ConfigurationError(f"there is no {what} {path}: name one with --model")
    available = onnxruntime.get_available_providers()
    cuda = "CUDAExecutionProvider" in available
    if where.device == "cuda" and not cuda:
        raise ConfigurationError("this onnxruntime knows no cuda: pip install onnxruntime-gpu, or choose --device cpu")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = where.cpu_threads
    options.log_severity_level = _FATAL
    providers = ["CUDAExecutionProvider"] if cuda and where.device != "cpu" else []
    try:
        session = onnxruntime.InferenceSession(str(path), options, [*providers, "CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has a dozen types for this, without a common one
        raise not_loadable(what, path, error) from error
    found = {each.name for each in session.get_inputs()}
    if missing := set(inputs) - found:
        raise ConfigurationError(f"{path} is no {what}: it takes {sorted(found)}, and lacks {sorted(missing)}")
    return session


def not_loadable(what: str, path: Path, error: Exception) -> ConfigurationError:
    """Return what a failed load means, in one line."""
    reason = " ".join(str(error).split())[:_MESSAGE_CHARACTERS] or type(error).__name__
    return ConfigurationError(f"{what} {path} cannot be loaded: {reason}")


class Stoppable:
    """Stands for a session in one clause: runs it, and ends that run from another thread."""

    def __init__(self, session: Any) -> None:
        import onnxruntime

        self._session = session
        self._options = onnxruntime.RunOptions()
        self._options.log_severity_level = _FATAL

    def run(self, outputs: Sequence[str] | None, inputs: Mapping[str, Any]) -> list[Any]:
        """Return what the model gives for *inputs*; raises if it was stopped."""
        result: list[Any] = self._session.run(outputs, inputs, self._options)
        return result

    def stop(self) -> None:
        """End the run at its next operator, and let no other begin."""
        self._options.terminate = True
