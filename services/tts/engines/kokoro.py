"""Kokoro through kokoro-onnx: 54 voices in eight languages at 24 kHz, on a CPU or a GPU, without torch.

The package is MIT and the weights are Apache-2.0. Words become phonemes by phonemizer and eSpeak NG, which are GPL-3.0.
"""

import copy
import logging
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import Field

from bus.errors import ConfigurationError, EngineError
from services.tts import onnx_model
from services.tts.clause_work import Samples, spoken
from services.tts.engine import chosen_language, chosen_speed, chosen_voice

REQUIREMENTS: Final = "services/tts/requirements/kokoro.txt"
# A voice's first letter -> its language, BCP 47, and eSpeak NG's name of that. Japanese (j) and Mandarin (z) are left
# out: for those the model was trained on phonemes that eSpeak NG does not write.
LANGUAGES: Final = {
    "a": ("en-US", "en-us"),
    "b": ("en-GB", "en-gb"),
    "e": ("es", "es"),
    "f": ("fr", "fr-fr"),
    "h": ("hi", "hi"),
    "i": ("it", "it"),
    "p": ("pt-BR", "pt-br"),
}
ESPEAK: Final = dict(LANGUAGES.values())
# What the package takes; slower or faster sounds like these.
SLOWEST, FASTEST = 0.5, 2.0


class Settings(onnx_model.Running):
    """What the kokoro engine can be told."""

    model: str = Field("kokoro-v1.0.onnx", min_length=1, description="path of the model")
    voices: str = Field("voices-v1.0.bin", min_length=1, description="path of the file with its voices")
    voice: str = Field("af_heart", description="voice where a request names neither voice nor language")


class Engine:
    """Any voice speaks any of the languages, with its accent; without a language it speaks its own.

    One clause is made at a time, by all cores: a second response waits for the clause of the first, not for all of it.
    """

    threads = 1

    def __init__(self, settings: Settings) -> None:
        self.sample_rate = 24_000
        self.voices: list[str] = []
        self.languages: list[str] = []
        self.language = "en-US"
        self._settings = settings
        self._kokoro: Any = None
        self._workers = ThreadPoolExecutor(onnx_model.WORKERS, thread_name_prefix="kokoro")

    def load(self) -> None:
        """Load model and voices, and say a word.

        Raises:
            ConfigurationError: the package, the model or the voices are missing or broken, or the voice is unknown.
        """
        told = self._settings
        model, voices = Path(told.model), Path(told.voices)
        try:
            import kokoro_onnx
        except ImportError as error:
            raise ConfigurationError(f"kokoro-onnx is not installed: pip install -r {REQUIREMENTS}") from error
        # At these levels and below, what is said goes into the log.
        logging.getLogger("kokoro_onnx").setLevel(logging.WARNING)
        logging.getLogger("phonemizer").setLevel(logging.ERROR)
        session = onnx_model.load(model, told, {"style", "speed"}, "kokoro model")
        if not voices.is_file():
            raise ConfigurationError(f"there is no file of kokoro's voices {voices}: name it with --voices")
        try:
            kokoro = kokoro_onnx.Kokoro.from_session(session, str(voices))
            kokoro.voices = {name: np.asarray(kokoro.voices[name], np.float32) for name in kokoro.voices.files}
        except Exception as error:  # numpy has one type for each way in which a file is broken
            raise onnx_model.not_loadable("file of kokoro's voices", voices, error) from error
        self._announce(sorted(kokoro.voices))
        self._kokoro = kokoro
        try:
            self._make("Yes.", told.voice, ESPEAK[self.language], 1.0, onnx_model.Stoppable(session))
        except Exception as error:  # of the model, of the phonemizer, of a voice with another shape
            raise onnx_model.not_loadable("kokoro model", model, error) from error

    def synthesize(self, text: str, voice: str, language: str, speed: float) -> Generator[bytes, None, None]:
        """Yield pcm at 24 kHz, 40 ms at a time, once the clause is made; `b""` until then.

        Raises:
            InvalidRequestError: no such voice, language or speed.
            EngineError: the engine is not loaded, or the model gave no sound.
        """
        if self._kokoro is None:
            raise EngineError("the engine is not loaded")
        speaker = chosen_voice(voice, self.voices)
        tongue = chosen_language(language, self.languages, self._own(speaker))
        speaker = speaker or self._fitting(tongue)
        rate = min(max(chosen_speed(speed), SLOWEST), FASTEST)
        run = onnx_model.Stoppable(self._kokoro.sess)
        return spoken(
            self._workers, partial(self._make, text, speaker, ESPEAK[tongue], rate, run), run.stop, self.sample_rate
        )

    def _make(self, text: str, voice: str, language: str, speed: float, run: onnx_model.Stoppable) -> Samples:
        silence = np.zeros(0, np.float32)
        if not any(map(str.isalnum, text)):
            return silence
        phonemes = self._kokoro.tokenizer.phonemize(text.replace("\0", " "), language)
        if not any(map(str.isalpha, phonemes)):
            return silence
        speaker = copy.copy(self._kokoro)
        speaker.sess = run
        samples: Samples = speaker.create(phonemes, voice, speed, is_phonemes=True, trim=False)[0]
        return samples

    def _announce(self, voices: list[str]) -> None:
        default = self._settings.voice
        if default not in voices:
            raise ConfigurationError(
                f"kokoro has no voice {default!r} in {self._settings.voices}: choose from {voices}"
            )
        self.voices = voices
        self.languages = sorted({LANGUAGES[voice[0]][0] for voice in voices if voice[0] in LANGUAGES}) or ["en-US"]
        self.language = LANGUAGES[default[0]][0] if default[0] in LANGUAGES else self.languages[0]

    def _own(self, voice: str) -> str:
        """Return the language of *voice*; where there is none, or one that cannot be spoken, the engine's."""
        known = LANGUAGES.get(voice[:1])
        return known[0] if known else self.language

    def _fitting(self, language: str) -> str:
        """Return the voice to speak *language* with: the default, or the first that was made for it."""
        if language == self.language:
            return self._settings.voice
        return next((voice for voice in self.voices if self._own(voice) == language), self._settings.voice)
