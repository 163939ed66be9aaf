"""What keeps the words that Whisper makes up where nobody spoke out of the transcript."""

import zlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Decoded:
    """What came of one window."""

    text: str = ""
    language: str = ""
    log_prob: float = 0.0
    """Natural logarithm, the mean of the tokens."""
    no_speech: float = 1.0
    """The model's own opinion that nobody speaks, 0..1."""
    busy_s: float = 0.0
    """The window's share of the batch's time."""


@dataclass(frozen=True, slots=True)
class Guards:
    """Thresholds; names, meaning and defaults are those of faster-whisper where it has them."""

    no_speech: float = 0.6
    log_prob: float = -1.0
    compression_ratio: float = 2.4
    silence_dbfs: float = -60.0

    def pass_on(self, decoded: Decoded) -> bool:
        """Tell whether the text may be shown.

        Whisper's own rule for silence: the model thinks that nobody speaks, and is not sure of its words either. Text
        that compresses well repeats itself: a loop. (faster-whisper would guess again at random; that is not done.)
        """
        is_silence = decoded.no_speech > self.no_speech and decoded.log_prob < self.log_prob
        return not is_silence and compression_ratio(decoded.text) <= self.compression_ratio


def compression_ratio(text: str) -> float:
    """Return how many times smaller zlib makes *text*."""
    encoded = text.encode()
    return len(encoded) / len(zlib.compress(encoded))
