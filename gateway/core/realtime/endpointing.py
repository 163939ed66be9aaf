"""How a session's turn detection is asked of the vad.

`semantic_vad` is measured in silence as long as no model says that a sentence is finished: the more eager, the less of
it ends a turn. The protocol's longest waits (8, 4, 2 s) bound what such a model may ask for.
"""

from dataclasses import dataclass
from typing import Final

from gateway.core.realtime.config import SessionConfig

# Silence that ends a turn, in ms. 500 ms is the protocol's default for server_vad; a speaker who thinks pauses for a
# second or so.
SILENCE_OF_EAGERNESS_MS: Final = {"low": 1600, "medium": 900, "auto": 900, "high": 500}


@dataclass(frozen=True, slots=True)
class Endpointing:
    """What the vad is asked for. *manual*: everything is speech until it is committed."""

    manual: bool
    threshold: float = 0.5
    prefix_padding_ms: int = 300
    silence_duration_ms: int = 500


def endpointing_of(config: SessionConfig) -> Endpointing:
    """Return what *config* means for the vad."""
    detection = config.turn_detection
    if detection is None:
        return Endpointing(manual=True)
    if detection.type == "semantic_vad":
        return Endpointing(manual=False, silence_duration_ms=SILENCE_OF_EAGERNESS_MS[detection.eagerness])
    return Endpointing(
        manual=False,
        threshold=detection.threshold,
        prefix_padding_ms=detection.prefix_padding_ms,
        silence_duration_ms=detection.silence_duration_ms,
    )
