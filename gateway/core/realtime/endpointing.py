"""How a session's turn detection is asked of the vad.

With `semantic_vad` a vad that has an end-of-turn model asks it at every pause: the more eager, the less sure it has to
be that the speaker has finished. If it thinks not, the turn ends after the protocol's longest wait (8, 4 or 2 s). A vad
without such a model, or whose model is too slow, counts silence: the more eager, the less of it ends a turn.
"""

from dataclasses import dataclass
from typing import Final

from gateway.core.input import PAUSE_MS, pause_ms_before
from gateway.core.realtime.config import SessionConfig

# Silence that ends a turn, in ms. 500 ms is the protocol's default for server_vad; a speaker who thinks pauses for a
# second or so.
SILENCE_OF_EAGERNESS_MS: Final = {"low": 1600, "medium": 900, "auto": 900, "high": 500}
# The probability from which on the model ends a turn. 0.5 is where smart-turn's own users put it.
THRESHOLD_OF_EAGERNESS: Final = {"low": 0.75, "medium": 0.5, "auto": 0.5, "high": 0.25}
UNFINISHED_OF_EAGERNESS_MS: Final = {"low": 8000, "medium": 4000, "auto": 4000, "high": 2000}


@dataclass(frozen=True, slots=True)
class Endpointing:
    """What the vad is asked for. *manual*: everything is speech until it is committed."""

    manual: bool
    threshold: float = 0.5
    prefix_padding_ms: int = 300
    silence_duration_ms: int = 500
    pause_ms: int = 0  # 0: pauses are not told
    end_of_turn_threshold: float = 0.0  # 0: silence alone ends turns
    unfinished_silence_ms: int = 0

    @property
    def longest_silence_ms(self) -> int:
        """Silence that ends any turn, whatever a model thinks of it."""
        return max(self.silence_duration_ms, self.unfinished_silence_ms)


def endpointing_of(config: SessionConfig) -> Endpointing:
    """Return what *config* means for the vad."""
    detection = config.turn_detection
    if detection is None:
        return Endpointing(manual=True)
    if detection.type == "semantic_vad":
        return Endpointing(
            manual=False,
            silence_duration_ms=SILENCE_OF_EAGERNESS_MS[detection.eagerness],
            pause_ms=PAUSE_MS,  # smart-turn was trained on pauses of some 200 ms
            end_of_turn_threshold=THRESHOLD_OF_EAGERNESS[detection.eagerness],
            unfinished_silence_ms=UNFINISHED_OF_EAGERNESS_MS[detection.eagerness],
        )
    return Endpointing(
        manual=False,
        threshold=detection.threshold,
        prefix_padding_ms=detection.prefix_padding_ms,
        silence_duration_ms=detection.silence_duration_ms,
        pause_ms=pause_ms_before(detection.silence_duration_ms),
    )
