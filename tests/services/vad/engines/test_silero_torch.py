"""Silero in torch: the numbers of the ONNX engine, in any batch; finding and refusing files."""

import sys
from pathlib import Path

import numpy as np
import pytest

from bus.errors import ConfigurationError
from services.vad.engines import silero_onnx, silero_torch


def test_a_missing_torch_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ConfigurationError, match=r"pip install -r services/vad/requirements/silero-torch\.txt"):
        silero_torch.Engine(silero_torch.Settings()).load()


@pytest.mark.parametrize("device", ["gpu", "cuda:", "mps"])
def test_an_unknown_device_is_refused(device: str) -> None:
    with pytest.raises(ValueError, match="device"):
        silero_torch.Settings(device=device)


def test_it_gives_what_the_onnx_engine_gives() -> None:
    pytest.importorskip("torch", reason="torch is not installed (make test-engines installs it)")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (make test-engines installs it)")
    engines = silero_torch.Engine(silero_torch.Settings()), silero_onnx.Engine(silero_onnx.Settings())
    random = np.random.default_rng(8)
    loudness = np.array([[0.0], [0.01], [0.3]], np.float32)
    sounds = (random.standard_normal((20, 3, 512)) * loudness).astype(np.float32)
    heard = []
    for engine in engines:
        engine.load()
        rows = np.array([engine.new_state() for _ in range(3)])
        heard.append(np.array([engine.step(windows, rows) for windows in sounds]))
    np.testing.assert_allclose(heard[0], heard[1], rtol=0, atol=1e-4)


def test_the_package_is_not_imported() -> None:
    pytest.importorskip("torch", reason="torch is not installed (make test-engines installs it)")
    silero_torch.Engine(silero_torch.Settings()).load()
    assert "silero_vad" not in sys.modules


@pytest.mark.parametrize("content", [None, b"not a model"])
def test_a_file_that_is_no_model_is_refused_in_one_line(tmp_path: Path, content: bytes | None) -> None:
    pytest.importorskip("torch", reason="torch is not installed (make test-engines installs it)")
    path = tmp_path / "model.jit"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"model\.jit") as refused:
        silero_torch.Engine(silero_torch.Settings(model=str(path))).load()
    assert "\n" not in str(refused.value)


def test_a_gpu_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed (make test-engines installs it)")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigurationError, match="no GPU here"):
        silero_torch.Engine(silero_torch.Settings(device="cuda")).load()
