"""Reads what gateways ask for: endpointing parameters within bounds, positions that can be."""

import math
from typing import Final

from bus.errors import InvalidRequestError
from proto.v1 import speech_pb2 as pb
from services.vad.endpointing import Parameters

DEFAULTS: Final = Parameters()
# The audio before an onset is kept for every session all the time: 5 s are 160 kB.
MOST_PREFIX_MS: Final = 5_000
# A start is decided by then, so that no more audio has to wait for the decision.
MOST_MIN_SPEECH_MS: Final = 2_000
# 18 million years of audio. Beyond it a sum of positions might not fit the frame's 64 bits.
LAST_POSITION: Final = 2**63


def parameters_of(asked: pb.Endpointing) -> Parameters:
    """Return *asked* with defaults where it is silent.

    Zero stands for the default, save for the prefix padding (0 is none), the pause and the end-of-turn threshold (0 is
    never). What is too long is cut to the service's own bound.

    Raises:
        InvalidRequestError: a threshold is no probability.
    """
    for name in ("threshold", "end_of_turn_threshold"):
        value = getattr(asked, name)
        if not (math.isfinite(value) and 0 <= value <= 1):
            raise InvalidRequestError(f"{name} {value:g} is not between 0 and 1")
    return Parameters(
        threshold=asked.threshold or DEFAULTS.threshold,
        prefix_padding_ms=min(asked.prefix_padding_ms, MOST_PREFIX_MS),
        silence_duration_ms=asked.silence_duration_ms or DEFAULTS.silence_duration_ms,
        min_speech_ms=min(asked.min_speech_ms or DEFAULTS.min_speech_ms, MOST_MIN_SPEECH_MS),
        pause_ms=asked.pause_ms,
        max_speech_ms=min(asked.max_speech_ms or DEFAULTS.max_speech_ms, DEFAULTS.max_speech_ms),
        manual=asked.mode == pb.Endpointing.MANUAL,
        end_of_turn_threshold=asked.end_of_turn_threshold,
        unfinished_silence_ms=asked.unfinished_silence_ms,
    )


def position_of(at_sample: int) -> int:
    """Return *at_sample*.

    Raises:
        InvalidRequestError: it lies beyond any audio.
    """
    if at_sample > LAST_POSITION:
        raise InvalidRequestError(f"no audio has a sample {at_sample}")
    return at_sample
