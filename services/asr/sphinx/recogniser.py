"""One pocketsphinx decoder, stepped through one utterance after the other; blocking, for a process of its own.

Three things make its result a matter of the utterance alone. The front end is made anew for each one (it tracks noise
across utterances otherwise). Audio is decoded in blocks of one size, whatever the pieces it came in. And the cepstral
mean, which stands for microphone and loudness, is learned from the utterance's own beginning before any of it is
decoded. On 23 recordings of 10 speakers, 46 % of the words are wrong with the decoder's own start value and flags, at
0.40 seconds of computing for a second of audio; 22 to 30 % with what is done here, depending on the silence around the
speech, at 0.21 to 0.25.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

SAMPLE_RATE: Final = 16_000
# A step can be interrupted only at its end: 32 ms of audio take some 10 ms to decode.
BLOCK_BYTES: Final = 1024
# One second, which the mean is learned from. With less than 0.7 s of speech in it several points more of the words are
# wrong; a turn has 0.3 s of silence before its speech and half a second after it, so that even a short word has its
# second before it ends, and keeps its speaker waiting for little of this.
LEARN_BYTES: Final = 2 * SAMPLE_RATE
# Pauses would pull the mean down: pieces of 20 ms that are 30 dB below the loudest of them teach nothing.
PIECE: Final = SAMPLE_RATE // 50
QUIET: Final = 0.03
# Ending an utterance searches it, whatever was said before: for one word this takes 25 ms, for any words 250.
LEARNING: Final = "mean"
# Speech that begins with the first sample costs its first words (6 points more word errors); a quiet room goes before
# it: 200 ms of faint noise, always the same (the decoder does not know digital silence).
ABRUPT: Final = 5  # pieces
ROOM: Final = np.random.default_rng(0).normal(0.0, 3.0, SAMPLE_RATE // 5).astype("<i2").tobytes()
# The second pass over the whole utterance (fwdflat) would add half a second to every final. The search of the word
# lattice (bestpath) adds 20 ms and saves 6 points of word errors. With the default 30 000 states a frame (maxhmmpf)
# decoding takes a third longer and is no better; with 3 000 it is worse.
FLAGS: Final[dict[str, Any]] = {"loglevel": "FATAL", "fwdflat": False, "bestpath": True, "maxhmmpf": 5000}


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """What was understood, and the mean posterior of its words (0..1; 0: none)."""

    text: str
    confidence: float


class Recogniser:
    """A decoder with its model. Takes under a second and about 100 MB to make."""

    def __init__(self) -> None:
        from pocketsphinx import Decoder

        self._decoder = Decoder(**FLAGS)
        self._words = self._decoder.current_search()
        self._decoder.add_keyphrase(LEARNING, "oh")
        self._unlearned = self._decoder.get_cmn()
        self._pending = bytearray()
        self._begun = False
        self._ended = False

    def begin(self) -> None:
        """Forget the utterance before, if there was one, and take a new one."""
        if self._begun:
            self._decoder.end_utt()
        self._pending.clear()
        self._begun = self._ended = False

    def accept(self, pcm: bytes) -> None:
        """Take the next audio; `step` decodes it."""
        self._pending += pcm

    def end(self) -> None:
        """Say that the utterance is complete."""
        self._ended = True

    def step(self) -> bool:
        """Decode the next block; return whether there was one."""
        if not self._begun and not self._start():
            return False
        if len(self._pending) < BLOCK_BYTES and not (self._ended and self._pending):
            return False
        block = bytes(self._pending[:BLOCK_BYTES])
        del self._pending[:BLOCK_BYTES]
        self._decoder.process_raw(block, False, False)
        return True

    def partial(self) -> str:
        """Return the text understood so far."""
        hypothesis = self._decoder.hyp() if self._begun else None
        return _clean(hypothesis.hypstr) if hypothesis else ""

    def result(self) -> Hypothesis:
        """Close the utterance; return what all of it was understood to be. Nothing may be left to `step` through."""
        if not self._begun:
            return Hypothesis("", 0.0)
        self._decoder.end_utt()
        self._begun = False
        best = self._decoder.hyp()
        if best is None or not (text := _clean(best.hypstr)):
            return Hypothesis("", 0.0)
        posteriors = [segment.prob for segment in self._decoder.seg() if segment.word[0] not in "<[+"]
        return Hypothesis(text, sum(posteriors) / len(posteriors) if posteriors else 0.0)

    def _start(self) -> bool:
        """Begin to decode, unless it is too early; return whether it has begun."""
        if len(self._pending) < (BLOCK_BYTES if self._ended else LEARN_BYTES):
            return False
        speech, abrupt = _without_pauses(bytes(self._pending[:LEARN_BYTES]))
        mean = self._learn(speech) if speech else self._unlearned
        self._decoder.reinit_feat()
        self._decoder.set_cmn(mean)
        self._decoder.start_utt()
        self._begun = True
        if abrupt:
            self._decoder.process_raw(ROOM, False, False)
        return True

    def _learn(self, speech: bytes) -> str:
        """Return the cepstral mean of *speech*."""
        self._decoder.activate_search(LEARNING)
        self._decoder.reinit_feat()
        self._decoder.start_utt()
        self._decoder.process_raw(speech, True, True)  # no search; all of it at once sets the mean
        mean = self._decoder.get_cmn()
        self._decoder.end_utt()
        self._decoder.activate_search(self._words)
        return str(mean)


def _without_pauses(pcm: bytes) -> tuple[bytes, bool]:
    """Return *pcm* without its pauses, and whether it begins without one."""
    samples = np.frombuffer(pcm, "<i2")
    pieces = samples[: len(samples) // PIECE * PIECE].reshape(-1, PIECE)
    loudness = pieces.std(axis=1)
    loud = loudness > QUIET * loudness.max()
    return bytes(pieces[loud].tobytes()), bool(loud[:ABRUPT].any())


def _clean(text: str) -> str:
    """Return *text* without pocketsphinx's marks for noises, if any."""
    return " ".join(word for word in text.split() if word[0] not in "<[+")
