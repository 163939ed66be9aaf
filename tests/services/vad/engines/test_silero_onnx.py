"""Silero in ONNX Runtime: finding and refusing model files."""

import re
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from bus.errors import ConfigurationError
from services.vad.engines import silero_onnx
from services.vad.silero import packaged_file


def test_the_package_is_found_without_being_imported() -> None:
    assert packaged_file("silero-onnx", silero_onnx.FILES).name in silero_onnx.FILES
    assert "silero_vad" not in sys.modules


def test_a_missing_package_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.vad.silero.find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match=f"no package silero-vad; {re.escape(silero_onnx.REMEDY)}$"):
        silero_onnx.Engine(silero_onnx.Settings()).load()


def test_a_package_without_the_model_is_named_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spec = ModuleSpec("silero_vad", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr("services.vad.silero.find_spec", lambda _: spec)
    with pytest.raises(ConfigurationError, match="pip install"):
        packaged_file("silero-onnx", silero_onnx.FILES)


def test_a_missing_runtime_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(
        ConfigurationError, match=r"pip install --no-deps -r services/vad/requirements/silero-onnx\.txt"
    ):
        silero_onnx.Engine(silero_onnx.Settings()).load()


@pytest.mark.parametrize("content", [None, b"not a model"])
def test_a_file_that_is_no_model_is_refused_in_one_line(tmp_path: Path, content: bytes | None) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (make test-engines installs it)")
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"model\.onnx") as refused:
        silero_onnx.Engine(silero_onnx.Settings(model=str(path))).load()
    assert "\n" not in str(refused.value)
