"""What the generator's people say: recordings, embedded synthetic speech, or a babble made of numbers alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np

from bus.errors import ConfigurationError
from launcher import recording
from launcher.client import BYTES_PER_MS, SAMPLE_RATE
from launcher.errors import UsageError

# Said without a pause inside, 1 to 2 s each.
PHRASES: Final = (
    "what is the time in London now",
    "tell me something about the sea",
    "how long does the journey take",
    "please play some music for me",
    "where did I leave my keys today",
)
# Full scale is 32 768; what is quieter than this at the ends of synthetic speech is no speech.
LOUD: Final = 500
BABBLES_S: Final = (1.0, 1.2, 1.4, 1.6, 1.8)
KINDS: Final = ("espeak-ng", "babble")


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words: *text*, if known, as *pcm* (16 kHz mono s16le) that begins and ends with sound."""

    text: str
    pcm: bytes

    @property
    def ms(self) -> int:
        """How long they sound."""
        return len(self.pcm) // BYTES_PER_MS


def phrases(kind: str, recordings: Sequence[Path] = ()) -> tuple[Phrase, ...]:
    """Return what to say: *recordings* if there are any, else speech of that *kind*.

    Raises:
        UsageError: a recording cannot be read, or the voice is not installed.
    """
    if recordings:
        return tuple(Phrase("", trimmed(recording.read(path), str(path))) for path in recordings)
    return _babbled() if kind == "babble" else _spoken()


def trimmed(pcm: bytes, name: str) -> bytes:
    """Return 16 kHz mono s16le without the silence around it, in whole ms.

    Raises:
        UsageError: it is nothing but silence. *name* tells which recording.
    """
    ends_ms = recording.sounds_end_ms(pcm)
    if not ends_ms:
        raise UsageError(f"{name}: nothing to hear in it")
    # A block of sound of 20 ms ends at each of these.
    begin, end = int(ends_ms[0]) - 20, int(ends_ms[-1])
    return pcm[max(0, begin) * BYTES_PER_MS : len(pcm) // BYTES_PER_MS * BYTES_PER_MS][: (end - begin) * BYTES_PER_MS]


@cache
def _spoken() -> tuple[Phrase, ...]:
    import soxr

    from services.tts.engines.espeak_ng import Engine, Settings

    engine = Engine(Settings())
    try:
        engine.load()
    except ConfigurationError as error:
        raise UsageError(f"--speech espeak-ng: {error}; or take --speech babble") from error
    made = []
    for text in PHRASES:
        samples = np.frombuffer(b"".join(engine.synthesize(text, "", "", 1.0)), np.int16)
        samples = soxr.resample(samples, engine.sample_rate, SAMPLE_RATE)
        loud = np.flatnonzero(np.abs(samples.astype(np.int32)) > LOUD)
        made.append(Phrase(text, _whole_ms(samples[loud[0] : loud[-1] + 1].astype("<i2").tobytes())))
    return tuple(made)


@cache
def _babbled() -> tuple[Phrase, ...]:
    from launcher.check.sound import voice

    return tuple(
        Phrase(text, trimmed(voice(seconds, seed), text))
        for seed, (text, seconds) in enumerate(zip(PHRASES, BABBLES_S, strict=True))
    )


def _whole_ms(pcm: bytes) -> bytes:
    return pcm[: len(pcm) // BYTES_PER_MS * BYTES_PER_MS]
