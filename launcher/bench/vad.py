"""Windows a second of the Silero engines, against their networks called directly: `python -m launcher.bench.vad`.

*Directly* is the network alone, its state going round in a circle: no session could be served so. The engines add the
gathering and scattering of the sessions' states. Each figure is the best of several rounds, which are interleaved over
all rows, so that a busy moment of the machine falls on all of them. A session needs 31.25 windows a second.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import numpy as np

from bus.errors import ConfigurationError
from launcher.bench.machine import describe
from services.vad.engine import Engine
from services.vad.engines import silero, silero_onnx, silero_torch
from services.vad.silero import CONTEXT, LSTM, WINDOW

BATCHES: Final = (1, 4, 8, 16, 32, 64, 128, 512)
# Windows in a measurement: a tenth of a second or so.
WINDOWS: Final = 2048
ROUNDS: Final = 7
# Rows of the table.
NETWORK: Final = "silero: the network directly"
ENGINE: Final = "silero: the engine"
ONNX: Final = "ONNX Runtime called directly"

Step = Callable[[], object]


def through(engine: Engine, batch: int) -> Step:
    """Return a step of *engine* with *batch* sessions."""
    rows = np.array([engine.new_state() for _ in range(batch)])
    windows = noise(batch, WINDOW)
    return lambda: engine.step(windows, rows)


def network(engine: silero.Engine, batch: int) -> Step:
    """Return a run of the network in numpy alone."""
    hear = engine._network.hear  # noqa: SLF001 - the very network that the engine runs
    return partial(hear, noise(batch, WINDOW), np.zeros((batch, CONTEXT + 2 * LSTM), np.float32))


def onnx(engine: silero_onnx.Engine, batch: int) -> Step:
    """Return a run of the ONNX model alone."""
    session: Any = engine._session  # noqa: SLF001 - the very model that the engine runs
    fed = {"input": noise(batch, CONTEXT + WINDOW), "state": state(batch), "sr": silero_onnx.SAMPLE_RATE}

    def step() -> None:
        _, fed["state"] = session.run(None, fed)

    return step


def torchscript(engine: silero_torch.Engine, batch: int) -> Step:
    """Return a run of the TorchScript network alone, on the engine's device."""
    torch: Any = engine._torch  # noqa: SLF001 - the very network that the engine runs
    hear: Any = engine._network  # noqa: SLF001
    device: str = engine._settings.device  # noqa: SLF001
    heard = torch.from_numpy(noise(batch, CONTEXT + WINDOW)).to(device)
    after = [torch.from_numpy(state(batch)).to(device)]

    def step() -> None:
        with torch.inference_mode():
            found, after[0] = hear(heard, after[0])
            found.cpu()

    return step


def noise(batch: int, samples: int) -> Any:
    """Return *batch* pieces of noise."""
    return (np.random.default_rng(1).standard_normal((batch, samples)) * 0.1).astype(np.float32)


def state(batch: int) -> Any:
    """Return the state of *batch* sessions that have heard nothing."""
    return np.zeros((2, batch, LSTM), np.float32)


def rate(step: Step, batch: int) -> float:
    """Return the windows a second of one measurement."""
    times = max(1, WINDOWS // batch // 4 if batch == 1 else WINDOWS // batch)
    began = time.perf_counter()
    for _ in range(times):
        step()
    return times * batch / (time.perf_counter() - began)


def rows_of(threads: int, device: str) -> tuple[dict[str, Callable[[int], Step]], list[str]]:
    """Return what makes the steps of each row of the table, and what cannot be measured here."""
    rows: dict[str, Callable[[int], Step]] = {}
    missing: list[str] = []
    in_numpy = silero.Engine(silero.Settings(threads=threads))
    in_onnx = silero_onnx.Engine(silero_onnx.Settings(threads=threads))
    in_torch = silero_torch.Engine(silero_torch.Settings(threads=threads, device=device))
    alone: list[tuple[Engine, str, Callable[[int], Step]]] = [
        (in_numpy, NETWORK, partial(network, in_numpy)),
        (in_onnx, ONNX, partial(onnx, in_onnx)),
        (in_torch, "silero-torch: the network directly", partial(torchscript, in_torch)),
    ]
    for engine, title, direct in alone:
        try:
            engine.load()
        except ConfigurationError as error:
            missing.append(str(error))
        else:
            rows |= {title: direct, f"{engine.name}: the engine": partial(through, engine)}
    return rows, missing


def measure(
    rows: dict[str, Callable[[int], Step]], batches: Sequence[int] = BATCHES, rounds: int = ROUNDS
) -> dict[tuple[str, int], float]:
    """Return the windows a second of each row at each batch, the best of *rounds*."""
    steps = {(name, batch): make(batch) for name, make in rows.items() for batch in batches}
    best = dict.fromkeys(steps, 0.0)
    for _ in range(rounds + 1):  # the first warms up
        for place, step in steps.items():
            best[place] = max(best[place], rate(step, place[1]))
    return best


def main() -> int:
    """Measure and print; exit status 1 if nothing could be measured."""
    parser = argparse.ArgumentParser(prog="python -m launcher.bench.vad", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--threads", type=int, default=1, help="threads of each engine (default: 1)")
    parser.add_argument("--device", default="cpu", help="of silero-torch: cpu or cuda (default: cpu)")
    options = parser.parse_args()
    rows, missing = rows_of(options.threads, options.device)
    print(describe("numpy"))
    print(f"windows a second by windows in a step, {options.threads} thread(s), silero-torch on {options.device}")
    best = measure(rows)
    print(" " * 36 + "".join(f"{batch:>9}" for batch in BATCHES))
    for name in rows:
        print(f"  {name:34}" + "".join(f"{best[name, batch]:9,.0f}" for batch in BATCHES))
    for line in missing:
        print(f"  not measured: {line}")
    return 0 if rows else 1


if __name__ == "__main__":
    sys.exit(main())
