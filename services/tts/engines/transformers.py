"""VITS through transformers: the thousand languages of MMS, or any other VITS model, on a CPU or a GPU.

transformers is Apache-2.0; a model has its own terms (Meta's MMS weights: CC BY-NC 4.0).
"""

import asyncio
import os
import re
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np
import structlog
from pydantic import BaseModel, Field

from bus.errors import ConfigurationError, EngineError
from services.loading import in_thread, is_folder, not_loadable
from services.tts.clause_work import Samples, spoken
from services.tts.engine import chosen_language, chosen_speed, chosen_voice

log = structlog.get_logger(__name__)

REQUIREMENTS: Final = "services/tts/requirements/transformers.txt"
# ISO 639 at the end of a name like mms-tts-deu or mms-tts-uig-script_arabic.
NAMED_LANGUAGE: Final = re.compile(r"mms-tts-([a-z]{3})(?![a-z])")


class Settings(BaseModel):
    """What the transformers engine can be told."""

    model: str = Field("facebook/mms-tts-eng", min_length=1, description="a VITS model: name on the hub, or a folder")
    device: str = Field("auto", min_length=1, description="cpu, cuda, cuda:1, ...; auto: cuda where it is")
    cpu_threads: int = Field(
        default_factory=lambda: len(os.sched_getaffinity(0)), ge=1, description="default: one for each core"
    )
    language: str = Field("", description="BCP 47: what the model speaks, where it does not tell itself")
    voice: str = Field("", description="speaker where a request names none, of a model with several; default: 0")


class GivenUpError(Exception):
    """Nobody wants the clause any more."""


class Engine:
    """One model; its speakers, if it has several, are the voices to choose from, by number.

    One clause is made at a time, by all cores or the GPU: a second response waits for the clause of the first, not for
    all of it. Clauses are not made in batches: padding changes the end of the shorter ones, and takes a CPU longer.
    """

    threads = 1

    def __init__(self, settings: Settings) -> None:
        self.sample_rate = 16_000
        self.voices: list[str] = []
        self.languages: list[str] = []
        self.language = "und"
        self._settings = settings
        self._model: Any = None
        self._tokenizer: Any = None
        self._uroman: Any = None
        self._rate = 1.0  # the model's own
        self._unwanted = threading.Event()  # of the clause that is being made
        # The only one to touch the model: what belongs to one clause is set on it.
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="vits")

    def load(self) -> None:
        """Load the model, and say a word.

        Raises:
            ConfigurationError: a package or the model is missing or broken, it is no VITS, or the device is not there.
        """
        try:
            for package in ("langcodes", "torch", "transformers"):
                import_module(package)
        except ImportError as error:
            raise ConfigurationError(f"{error.name} is not installed: pip install -r {REQUIREMENTS}") from error
        told = self._settings
        is_folder(told.model)
        try:
            asyncio.run(in_thread(self._load, told.model, told.device))
            self._announce()
            self._worker.submit(self._make, "Aeiou.", 0, 1.0, threading.Event()).result()
        except ConfigurationError:
            raise
        except Exception as error:  # safetensors, the hub and torch have many types for this
            raise not_loadable("VITS", told.model, error) from error

    def synthesize(self, text: str, voice: str, language: str, speed: float) -> Generator[bytes, None, None]:
        """Yield pcm at the model's rate, 40 ms at a time, once the clause is made; `b""` until then.

        Raises:
            InvalidRequestError: no such voice, language or speed.
            EngineError: the engine is not loaded, out of memory, or the model gave no sound.
        """
        if self._model is None:
            raise EngineError("the engine is not loaded")
        chosen_language(language, self.languages)
        speaker = self.voices.index(chosen_voice(voice, self.voices, self._settings.voice or self.voices[0]))
        unwanted = threading.Event()
        make = partial(self._make, text, speaker, chosen_speed(speed), unwanted)
        return spoken(self._worker, make, unwanted.set, self.sample_rate)

    def _load(self) -> None:
        import torch

        transformers = import_module("transformers")  # half of it is typed
        transformers.utils.logging.disable_progress_bar()
        transformers.utils.logging.set_verbosity_error()
        told = self._settings
        kind = transformers.AutoConfig.from_pretrained(told.model).model_type
        if kind != "vits":
            raise ConfigurationError(f"model {told.model} is of type {kind}; this engine speaks with vits (mms-tts)")
        torch.set_num_threads(told.cpu_threads)
        device = ("cuda" if torch.cuda.is_available() else "cpu") if told.device == "auto" else told.device
        self._tokenizer = transformers.VitsTokenizer.from_pretrained(told.model)
        self._romanise()
        model, report = transformers.VitsModel.from_pretrained(told.model, output_loading_info=True)
        if missing := report["missing_keys"]:
            raise ConfigurationError(f"VITS model {told.model} is not whole: it lacks {len(missing)} of its weights")
        for module in model.modules():
            if isinstance(module, torch.nn.Conv1d | torch.nn.ConvTranspose1d):
                module.register_forward_pre_hook(self._stop_if_unwanted)
        self._model = model.to(device).eval()

    def _romanise(self) -> None:
        """Take the romaniser from the tokenizer, which would load it anew, for seconds, with every clause."""
        if self._tokenizer.phonemize:
            try:
                import phonemizer  # noqa: F401
            except ImportError as error:
                needed = "pip install phonemizer, and apt-get install espeak-ng"
                raise ConfigurationError(f"model {self._settings.model} reads phonemes: {needed}") from error
        if not self._tokenizer.is_uroman:
            return
        self._tokenizer.is_uroman = False
        try:
            import uroman

            self._uroman = uroman.Uroman()
        except ImportError:
            log.warning(
                "this model reads Latin letters only, and leaves others out: pip install uroman",
                model=self._settings.model,
            )

    def _announce(self) -> None:
        import langcodes

        told, config = self._settings, self._model.config
        self.sample_rate = int(config.sampling_rate)
        self._rate = float(self._model.speaking_rate)
        named = NAMED_LANGUAGE.search(Path(told.model).name)
        code = told.language or str(self._tokenizer.language or "").partition("-script")[0] or (named and named[1])
        if code:
            self.language = langcodes.standardize_tag(code.replace("_", "-"))
            self.languages = [self.language]
        several = config.num_speakers > 1
        self.voices = [str(number) for number in range(config.num_speakers)] if several else [Path(told.model).name]
        if told.voice and told.voice not in self.voices:
            raise ConfigurationError(f"model {told.model} has no speaker {told.voice!r}: choose from {self.voices}")

    def _make(self, text: str, speaker: int, speed: float, unwanted: threading.Event) -> Samples:
        import torch

        self._unwanted = unwanted
        tokens = self._tokens(text)
        if tokens is None:
            return np.zeros(0, np.float32)
        model = self._model
        model.speaking_rate = self._rate * speed
        several = model.config.num_speakers > 1
        try:
            with torch.inference_mode():
                waveform = model(**tokens.to(model.device), speaker_id=speaker if several else None).waveform
            samples: Samples = waveform[0].float().cpu().numpy()
        except torch.OutOfMemoryError as error:
            torch.cuda.empty_cache()
            raise MemoryError from error
        return samples

    def _tokens(self, text: str) -> Any:
        """Return *text* as the model reads it; None: nothing of it can be read."""
        if not any(map(str.isalnum, text)):
            return None
        if self._uroman is not None:
            text = self._uroman.romanize_string(text)
        tokens = self._tokenizer(text=text, return_tensors="pt")
        letters = tokens["input_ids"].shape[1]
        if self._tokenizer.add_blank:  # before, between and after them
            letters //= 2
        return tokens if letters else None

    def _stop_if_unwanted(self, *_: Any) -> None:
        if self._unwanted.is_set():
            raise GivenUpError
