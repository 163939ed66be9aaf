"""What every engine must do, whatever it thinks of the sound."""

import wave
from pathlib import Path

import numpy as np
import pytest

from services.vad.engine import Engine, Floats, StateRows
from services.vad.engines import energy, silero, silero_onnx, silero_torch

SECOND = 31  # windows


def build(name: str) -> Engine:
    if name == "energy":
        return energy.Engine(energy.Settings())
    if name == "silero-torch":
        pytest.importorskip("torch", reason="torch is not installed (make test-engines installs it)")
        return silero_torch.Engine(silero_torch.Settings())
    if name == "silero-onnx":
        pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (make test-engines installs it)")
        return silero_onnx.Engine(silero_onnx.Settings())
    return silero.Engine(silero.Settings())


@pytest.fixture(params=["energy", "silero", "silero-onnx", "silero-torch"])
def engine(request: pytest.FixtureRequest) -> Engine:
    loaded = build(request.param)
    loaded.load()
    return loaded


def windows_of(samples: Floats, engine: Engine) -> Floats:
    count = len(samples) // engine.window_samples
    return samples[: count * engine.window_samples].reshape(count, -1)


def probabilities(engine: Engine, windows: Floats) -> list[float]:
    """Return what one fresh session gets for *windows*."""
    row = engine.new_state()
    heard = [float(engine.step(window[None], np.array([row]))[0]) for window in windows]
    engine.free_state(row)
    return heard


def recording(path: Path) -> Floats:
    with wave.open(str(path)) as file:
        pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    return pcm.astype(np.float32) * np.float32(1 / 32768)


def test_silence_is_no_speech(engine: Engine) -> None:
    silence = np.zeros((SECOND, engine.window_samples), np.float32)
    assert max(probabilities(engine, silence)) < 0.1


def test_speech_is_speech(engine: Engine, speech: Path) -> None:
    heard = probabilities(engine, windows_of(recording(speech / "mountain_view.wav"), engine))
    assert sum(p > 0.5 for p in heard) > 8  # 0.3 s of 0.9


@pytest.mark.parametrize("kind", ["noise", "dc", "clipping", "square", "one sample"])
def test_no_sound_yields_anything_but_probabilities(engine: Engine, kind: str) -> None:
    random = np.random.default_rng(1)
    size = (SECOND, engine.window_samples)
    sounds = {
        "noise": random.uniform(-1, 1, size),
        "dc": np.full(size, 0.9),
        "clipping": np.sign(random.uniform(-1, 1, size)),
        "square": np.where(np.arange(size[0] * size[1]).reshape(size) // 40 % 2, 1.0, -1.0),
        "one sample": np.eye(*size),
    }
    heard = probabilities(engine, sounds[kind].astype(np.float32))
    assert all(0 <= p <= 1 for p in heard)


@pytest.mark.parametrize("count", [2, 5, 33, 100])
def test_a_batch_gives_every_session_what_it_gets_alone(engine: Engine, count: int) -> None:
    # Silero in ONNX: identical where this was written (x86-64); another processor's kernels may round otherwise.
    random = np.random.default_rng(2)
    steps = 4
    sounds = (random.standard_normal((count, steps, engine.window_samples)) * 0.1).astype(np.float32)
    alone = [probabilities(engine, sound) for sound in sounds]
    rows = np.array([engine.new_state() for _ in range(count)])
    order = random.permutation(count)
    for step in range(steps):
        together = engine.step(sounds[order, step], rows[order])
        np.testing.assert_allclose(together, np.array(alone)[order, step], rtol=0, atol=1e-5)


def test_a_new_session_has_nothing_of_the_one_before_it(engine: Engine) -> None:
    random = np.random.default_rng(3)
    loud = (random.standard_normal((10, engine.window_samples)) * 0.3).astype(np.float32)
    first = probabilities(engine, loud)
    row = engine.new_state()
    for window in loud:
        engine.step(window[None], np.array([row]))
    engine.free_state(row)
    assert probabilities(engine, loud) == pytest.approx(first, abs=1e-6)


def test_rows_grow_and_are_used_again() -> None:
    rows = StateRows(np.full(3, 7, np.float32))
    taken = [rows.take() for _ in range(200)]
    assert len(set(taken)) == 200
    rows.values[taken[5]] = 0
    rows.free(taken[5])
    assert rows.take() == taken[5]
    assert (rows.values[taken] == 7).all()
