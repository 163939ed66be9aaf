"""Silero as matrix products: the numbers of ONNX Runtime, in any batch; what is refused, and how."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bus.errors import ConfigurationError
from services.vad import onnx_tensors
from services.vad.engine import Engine, Floats
from services.vad.engines import silero, silero_onnx
from services.vad.silero import packaged_file
from services.vad.silero_network import SHAPES, Network
from tests.services.vad.engines.test_engines import probabilities, recording, windows_of
from tests.support.bus import PATIENCE_S

# Sums are made, and so rounded, in another order in another library or, by a product's size, in the same one. What that
# does to a state goes on: found were 1e-7 after a few windows, 9e-7 over whole recordings, 4e-6 to ONNX Runtime.
SAME = 1e-6
SAME_FOR_LONG = 1e-5
SAME_AS_ONNX = 1e-4
# Loads as the service does, on the thread of its steps; prints the threads that products have there and elsewhere.
LIMITED = """
from concurrent.futures import ThreadPoolExecutor
import threadpoolctl
from services.vad.engines.silero import Engine, Settings

def threads():
    return {library["num_threads"] for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"}

with ThreadPoolExecutor(1) as steps, ThreadPoolExecutor(1) as other:
    steps.submit(Engine(Settings()).load).result()
    print(threads(), steps.submit(threads).result(), other.submit(threads).result())
"""


def loaded() -> silero.Engine:
    engine = silero.Engine(silero.Settings())
    engine.load()
    return engine


@pytest.fixture
def engine() -> silero.Engine:
    return loaded()


@pytest.fixture
def tensors() -> dict[str, Floats]:
    path = packaged_file("silero", silero.FILES)
    return {name.removeprefix(silero.PREFIX): tensor for name, tensor in onnx_tensors.read(path).items()}


def heard_together(engine: Engine, sounds: Floats) -> Floats:
    """Return the probabilities [steps, N] of *sounds* [steps, N, 512]."""
    rows = np.array([engine.new_state() for _ in range(sounds.shape[1])])
    heard = np.stack([engine.step(windows, rows) for windows in sounds])
    for row in rows.tolist():
        engine.free_state(row)
    return heard


def sounds_like(steps: int, count: int) -> Floats:
    """Return noise [steps, count, 512] from silence to full scale."""
    random = np.random.default_rng(7)
    loudness = np.resize([0, 1e-4, 0.01, 0.1, 0.5], (1, count, 1))
    sounds: Floats = (random.standard_normal((steps, count, 512)) * loudness).astype(np.float32)
    return sounds


def test_any_number_at_a_time_gives_what_each_gets_alone(engine: silero.Engine) -> None:
    sounds = sounds_like(6, 70)
    alone = np.concatenate([heard_together(engine, sounds[:, [place]]) for place in range(70)], axis=1)
    for count in range(1, 71):
        np.testing.assert_allclose(heard_together(engine, sounds[:, :count]), alone[:, :count], rtol=0, atol=SAME)


def test_recordings_heard_together_give_what_each_gives_alone(engine: silero.Engine, speech: Path) -> None:
    recordings = [windows_of(recording(path), engine) for path in sorted(speech.glob("*.wav"))]
    longest = max(map(len, recordings))
    sounds = np.stack([np.resize(windows, (longest, 512)) for windows in recordings], axis=1)  # over and over again
    alone = np.array([probabilities(engine, sound) for sound in sounds.swapaxes(0, 1)]).T
    np.testing.assert_allclose(heard_together(engine, sounds), alone, rtol=0, atol=SAME_FOR_LONG)


def test_recordings_sound_to_it_as_to_onnx_runtime(engine: silero.Engine, speech: Path) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (make test-engines installs it)")
    other = silero_onnx.Engine(silero_onnx.Settings())
    other.load()
    for path in sorted(speech.glob("*.wav")):
        windows = windows_of(recording(path), engine)
        here, there = (np.array(probabilities(one, windows)) for one in (engine, other))
        np.testing.assert_allclose(here, there, rtol=0, atol=SAME_AS_ONNX)
        assert ((here >= 0.5) == (there >= 0.5)).all()


def test_noise_sounds_to_it_as_to_onnx_runtime(engine: silero.Engine) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (make test-engines installs it)")
    other = silero_onnx.Engine(silero_onnx.Settings())
    other.load()
    sounds = sounds_like(50, 20)
    np.testing.assert_allclose(heard_together(engine, sounds), heard_together(other, sounds), rtol=0, atol=SAME_AS_ONNX)


@pytest.mark.parametrize("loudness", [0.0, 1 / 32_768, 1e-12, 1e-30])
def test_minutes_of_silence_leave_no_number_too_small_to_be_quick(engine: silero.Engine, loudness: float) -> None:
    # Denormal numbers cost a processor many times what others do.
    noise = np.random.default_rng(9).choice([-1.0, 0.0, 1.0], (31 * 120, 1, 512)) * loudness
    row = np.array([engine.new_state()])
    for windows in noise.astype(np.float32):
        engine.step(windows, row)
    state = np.abs(engine._rows.read(row)[:, -256:])
    network = engine._network._memory[1]
    for values in (state, network.gates, network.first_out, network.second_out, network.third_out, network.fourth_out):
        assert not ((np.abs(values) > 0) & (np.abs(values) < np.finfo(np.float32).tiny)).any()


def test_every_thread_has_the_limit_of_threads() -> None:
    # In a process of its own: only the thread that was first may set it.
    command = [sys.executable, "-c", LIMITED]
    found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE_S)
    assert found.stdout == "{1} {1} {1}\n"


def test_the_package_is_not_imported(engine: silero.Engine) -> None:
    assert engine.model == "silero_vad_16k_op15"
    assert "silero_vad" not in sys.modules


def test_a_missing_package_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.vad.silero.find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match=f"no package silero-vad; {re.escape(silero.REMEDY)}$"):
        loaded()


def test_a_missing_pool_limit_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    with pytest.raises(ConfigurationError, match=r"pip install --no-deps -r services/vad/requirements/silero\.txt$"):
        loaded()


def test_an_old_numpy_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np, "__version__", "1.26.4")
    with pytest.raises(ConfigurationError, match=r"numpy is 1\.26\.4; pip install --no-deps -r"):
        loaded()


@pytest.mark.parametrize("content", [None, b"", b"not a model", b"\x3a\x05\x2a\x03\x42\x01\x61"])
def test_a_file_that_is_no_model_is_refused_in_one_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"model\.onnx: .*--engine silero-onnx$") as refused:
        silero.Engine(silero.Settings(model=str(path))).load()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["silero_vad.onnx", "silero_vad_16k.safetensors", "silero_vad.jit"])
def test_other_files_of_the_package_are_refused_with_the_remedy(name: str) -> None:
    path = packaged_file("silero", (name,))
    with pytest.raises(ConfigurationError, match=r"cannot use .*; leave --model out, .* silero-onnx$"):
        silero.Engine(silero.Settings(model=str(path))).load()


@pytest.mark.parametrize("name", SHAPES)
def test_a_tensor_that_is_missing_or_of_another_shape_is_named(tensors: dict[str, Floats], name: str) -> None:
    with pytest.raises(ValueError, match=f"no tensor {name}"):
        Network({other: tensor for other, tensor in tensors.items() if other != name})
    with pytest.raises(ValueError, match=f"its {name} has the shape"):
        Network(tensors | {name: tensors[name][..., None]})


def test_another_transform_is_refused(tensors: dict[str, Floats]) -> None:
    name = "stft.forward_basis_buffer"
    with pytest.raises(ValueError, match="no Fourier transform"):
        Network(tensors | {name: tensors[name] * np.float32(1.1)})
