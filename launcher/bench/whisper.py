"""What batches and cut windows save of Whisper's CPU seconds: `python -m launcher.bench.whisper`.

Models of the usual sizes are built with random weights and converted (int8): they cost what real ones cost, and write
nonsense without end. Every answer is therefore cut at the same number of tokens, whoever asks the model. Eight
utterances of 1.5 to 5 s, noise, are given to `WhisperModel.transcribe` one by one, as a process of its own for each
session would, then to the parts of the faster-whisper engine: alone, and at once in batches. Each figure is the
processor time of the process, all its threads, divided by the utterances; the least of several interleaved rounds.
"""

import argparse
import asyncio
import math
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np

from launcher.bench import random_whisper
from launcher.bench.machine import describe
from services.asr.whisper.guards import Guards
from services.asr.whisper.model import Model
from services.asr.whisper.rounds import Rounds
from services.asr.whisper.scheduler import Scheduler, Ticket
from services.asr.whisper.turn import Asked, Turn
from services.asr.whisper.window import LONGEST_S, SAMPLE_RATE

TOKENIZER: Final = Path(__file__).resolve().parents[3] / "shared" / "models" / "whisper-tokenizer"
PACKAGES: Final = {"torch": "torch", "transformers": "transformers", "faster_whisper": "faster-whisper"}
SECONDS: Final = tuple(1.5 + 0.5 * number for number in range(8))
# All utterances fit it, so all of them can be in one batch.
CUT_S: Final = 5.0
BATCHES: Final = (1, 2, 4, 8)
# All are asked for at once; this is how long the last may be on its way.
GATHER_S: Final = 0.2
# Nothing of what random weights write is to be dropped.
LENIENT: Final = Guards(no_speech=1.0, log_prob=-math.inf, compression_ratio=math.inf, silence_dbfs=-math.inf)


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to have the utterances decoded. Batch 0: `WhisperModel.transcribe`."""

    batch: int = 0
    window_s: float = LONGEST_S

    @property
    def name(self) -> str:
        """How it is called in the table."""
        if not self.batch:
            return "WhisperModel.transcribe, one by one"
        window = "30 s, exact" if self.window_s == LONGEST_S else f"cut to {self.window_s:g} s"
        return f"engine, {'alone' if self.batch == 1 else f'batches of {self.batch}'}, {window}"


VARIANTS: Final = (Variant(), *(Variant(batch, window_s) for window_s in (LONGEST_S, CUT_S) for batch in BATCHES))


class FixedLength:
    """A `ctranslate2.models.Whisper` whose answers all have *tokens* tokens."""

    def __init__(self, model: Any, tokens: int) -> None:
        self._model = model
        self._tokens = tokens

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def generate(self, features: Any, prompts: list[list[int]], **told: Any) -> Any:
        """Do what the model does, but never end before, or after."""
        suppressed = sorted({*(told.get("suppress_tokens") or ()), random_whisper.END})
        # CTranslate2 gives an answer half of what it is told, or what the prompt leaves of it if that is less.
        longest = max(2 * self._tokens, self._tokens + len(prompts[0]))
        told |= {"max_length": longest, "suppress_tokens": suppressed}
        found = self._model.generate(features, prompts, **told)
        if any(len(each.sequences_ids[0]) != self._tokens for each in found):
            raise RuntimeError("an answer has not the length that all are to have")
        return found


class Subject:
    """One model, and what it is given."""

    def __init__(self, folder: Path, beam_size: int, tokens: int, threads: int) -> None:
        from faster_whisper import WhisperModel

        whisper: Any = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=threads)
        whisper.model = FixedLength(whisper.model, tokens)
        self._whisper = whisper
        self._beam_size = beam_size
        self._model = Model(whisper, LENIENT, beam_size)
        noise = np.random.default_rng(0)
        self._utterances = [
            noise.normal(0, 3000, int(seconds * SAMPLE_RATE)).astype("<i2").tobytes() for seconds in SECONDS
        ]

    def cpu_s(self, variant: Variant) -> float:
        """Return the processor seconds for each utterance."""
        began = time.process_time()
        if variant.batch:
            asyncio.run(self._decode(variant))
        else:
            self._transcribe()
        return (time.process_time() - began) / len(self._utterances)

    def _transcribe(self) -> None:
        for pcm in self._utterances:
            segments, _ = self._whisper.transcribe(
                np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32768),
                language="en",
                beam_size=self._beam_size,
                temperature=0.0,
                without_timestamps=True,
                condition_on_previous_text=False,
                compression_ratio_threshold=None,
                log_prob_threshold=None,
                no_speech_threshold=None,
            )
            list(segments)

    async def _decode(self, variant: Variant) -> None:
        gather_s = GATHER_S if variant.batch > 1 else 0.0
        scheduler = Scheduler(self._model.decode, Rounds[Ticket](variant.batch, variant.batch), gather_s)
        turns = [Turn(scheduler, Asked(language="en", window_s=variant.window_s)) for _ in self._utterances]
        for turn, pcm in zip(turns, self._utterances, strict=True):
            await turn.accept(pcm)
        await asyncio.gather(*(turn.finish() for turn in turns))
        await scheduler.stop()


def measure(
    subject: Subject, rounds: int, progress: Callable[[str], None], variants: Sequence[Variant] = ()
) -> dict[Variant, float]:
    """Return the least processor seconds for each utterance, by variant: those named, or all."""
    variants = variants or VARIANTS
    for variant in variants:  # the first time costs more
        subject.cpu_s(variant)
    found = dict.fromkeys(variants, math.inf)
    for number in range(rounds):
        progress(f"round {number + 1} of {rounds}")
        for variant in variants:
            found[variant] = min(found[variant], subject.cpu_s(variant))
    return found


def table(found: dict[str, dict[Variant, float]]) -> str:
    """Return the figures of each size as lines."""
    width = max(len(variant.name) for variant in VARIANTS)
    head = "".join(f"{size:>10} {'':>6}" for size in found)
    lines = [f"{'CPU seconds per utterance':{width}}{head}"]
    for variant in VARIANTS:
        figures = "".join(
            f"{seconds[variant]:>10.3f} {seconds[variant] / seconds[Variant()]:>6.0%}" for seconds in found.values()
        )
        lines.append(f"{variant.name:{width}}{figures}")
    return "\n".join(lines)


def missing(tokenizer: Path) -> str:
    """Return what there is to install or to get; nothing: it can begin."""
    absent = [name for module, name in PACKAGES.items() if find_spec(module) is None]
    if absent:
        return f"not installed: {', '.join(absent)}; make test-engines installs them, or pip install {' '.join(absent)}"
    for name in ("tokenizer.json", "preprocessor_config.json"):
        if not (tokenizer / name).is_file():
            return f"there is no {tokenizer / name}; name a folder with those of a multilingual Whisper by --tokenizer"
    return ""


def main() -> int:
    """Measure and print; exit status 2 if something is missing."""
    parser = argparse.ArgumentParser(
        prog="python -m launcher.bench.whisper", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--tokenizer", type=Path, default=TOKENIZER, help="folder with tokenizer.json of a Whisper")
    parser.add_argument("--sizes", nargs="+", choices=[*random_whisper.SIZES], default=["tiny", "base"])
    parser.add_argument("--tokens", type=int, default=16, help="of every answer (16: some ten words)")
    parser.add_argument("--beam_size", type=int, default=5, help="hypotheses, in every variant (5)")
    parser.add_argument("--threads", type=int, default=1, help="of CTranslate2 (1)")
    parser.add_argument("--rounds", type=int, default=2, help="of which the best counts (2)")
    options = parser.parse_args()
    if lacks := missing(options.tokenizer):
        sys.stderr.write(f"launcher.bench.whisper: {lacks}\n")
        return 2

    def progress(text: str) -> None:
        sys.stderr.write(f"{text}\n")

    found = {}
    with tempfile.TemporaryDirectory(prefix="random-whisper-") as kept:
        for size in options.sizes:
            progress(f"building {size}")
            whole = random_whisper.build(size, options.tokenizer, Path(kept) / f"{size}-weights")
            folder = random_whisper.convert(whole, Path(kept) / size)
            subject = Subject(folder, options.beam_size, options.tokens, options.threads)
            found[size] = measure(subject, options.rounds, progress)
    print(describe("faster-whisper", "ctranslate2"))
    print(
        f"random weights, int8, {options.threads} thread(s), beam {options.beam_size}, {options.tokens} tokens for "
        f"each of {len(SECONDS)} utterances of {SECONDS[0]:g} to {SECONDS[-1]:g} s; per cent of WhisperModel.transcribe"
    )
    print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
