"""How the level detector tells speech."""

import numpy as np

from services.vad.engine import Floats
from services.vad.engines.energy import Engine, Settings


def tone(dbfs: float, windows: int) -> Floats:
    """Return a sine of 400 Hz with an RMS level of *dbfs*."""
    time = np.arange(windows * 512) / 16_000
    samples: Floats = (np.sqrt(2) * 10 ** (dbfs / 20) * np.sin(2 * np.pi * 400 * time)).astype(np.float32)
    return samples.reshape(-1, 512)


def hear(engine: Engine, row: int, windows: Floats) -> list[float]:
    return [float(engine.step(window[None], np.array([row]))[0]) for window in windows]


def test_the_threshold_is_a_level() -> None:
    engine = Engine(Settings(threshold_dbfs=-40))
    row = engine.new_state()
    assert max(hear(engine, row, tone(-41, 3))) < 0.5 < min(hear(engine, row, tone(-39, 3)))


def test_speech_must_stand_out_of_a_noisy_room() -> None:
    engine = Engine(Settings(threshold_dbfs=-60, margin_db=9))
    row = engine.new_state()
    hear(engine, row, tone(-40, 31 * 65))  # a minute: the floor has risen to it
    assert max(hear(engine, row, tone(-38, 3))) < 0.5
    assert min(hear(engine, row, tone(-28, 3))) > 0.5


def test_an_offset_is_no_sound() -> None:
    engine = Engine(Settings())
    assert max(hear(engine, engine.new_state(), np.full((5, 512), 0.5, np.float32))) == 0
