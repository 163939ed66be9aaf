"""A clause that a model makes at once: given out in small pieces, given up when nobody wants it any more."""

from collections.abc import Callable, Generator
from concurrent.futures import Executor, wait
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bus.errors import EngineError

# How long a model works until whoever reads gets to decide whether to go on: a cancel waits no longer for that.
LOOK_S: Final = 0.05
# A response looks between two pieces whether it was cancelled.
PIECE_MS: Final = 40
# Of a 16-bit sample.
_HIGHEST: Final = 32767

Samples = NDArray[np.float32]


def spoken(
    workers: Executor, make: Callable[[], Samples], give_up: Callable[[], object], sample_rate: int
) -> Generator[bytes, None, None]:
    """Yield what *make* returns, 40 ms at a time, as 16-bit little-endian pcm; `b""` every 50 ms while it works.

    *make* runs on one of *workers* and returns mono samples between -1 and 1. Closing the generator calls *give_up*,
    which must make *make* end early, and waits for that.

    Raises:
        EngineError: the samples are no numbers, or there was not enough memory for them.
    """
    work = workers.submit(make)
    try:
        while not wait([work], LOOK_S).done:
            yield b""
    finally:
        if not work.done():
            give_up()
            if not work.cancel():  # it has begun
                wait([work])
    try:
        samples = work.result()
    except MemoryError as error:
        raise EngineError("out of memory: choose a smaller model, or give the process more") from error
    pcm = _pcm(samples)
    size = 2 * (sample_rate * PIECE_MS // 1000)
    for at in range(0, len(pcm), size):
        yield pcm[at : at + size]


def _pcm(samples: Samples | NDArray[Any]) -> bytes:
    if not np.isfinite(samples).all():
        raise EngineError("the model gave samples that are no numbers")
    return (np.clip(samples, -1.0, 1.0) * _HIGHEST).astype("<i2").tobytes()
