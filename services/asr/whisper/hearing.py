"""What every model of this kind does with a batch of windows, whatever it decodes with."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from services.asr.whisper.guards import Decoded
from services.asr.whisper.window import SAMPLE_RATE, Window, is_silent

# Shorter than any word: nothing to understand (OpenAI's interface has the same bound).
SHORTEST: Final = SAMPLE_RATE // 10


def decoded(
    windows: Sequence[Window], silence_dbfs: float, decode: Callable[[list[Window]], list[Decoded]]
) -> list[Decoded]:
    """Return what *decode* makes of those *windows* in which anything is to be heard; the others are empty.

    Each has an equal share of the time.
    """
    began = time.perf_counter()
    heard = [at for at, window in enumerate(windows) if not _silent(window, silence_dbfs)]
    found = dict(zip(heard, decode([windows[at] for at in heard]) if heard else [], strict=True))
    share_s = (time.perf_counter() - began) / len(windows)
    return [replace(found.get(at, Decoded()), busy_s=share_s) for at in range(len(windows))]


def _silent(window: Window, silence_dbfs: float) -> bool:
    return len(window.samples) < SHORTEST or is_silent(window.samples, silence_dbfs)
