"""Piper voices through piper-tts: one voice for each of some forty languages, quick on small CPUs.

The package is GPL-3.0-or-later, with eSpeak NG in it. Nothing here brings it: install it from its own requirements if
its terms suit you. It is imported in `load`, so that a process with another engine never has it in it.
"""

import copy
import json
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

REQUIREMENTS: Final = "services/tts/requirements/piper.txt"
INPUTS: Final = frozenset({"input", "input_lengths", "scales"})


class Settings(onnx_model.Running):
    """What the piper engine can be told."""

    model: str = Field("", description="path of the voice, such as en_US-lessac-medium.onnx")
    voice_config: str = Field("", description="path of the voice's JSON file; default: that of the voice and .json")
    voice: str = Field("", description="speaker where a request names none, of a voice with several; default: its own")


class Engine:
    """One voice; its speakers, if it has several, are the voices to choose from.

    One clause is made at a time, by all cores: a second response waits for the clause of the first, not for all of it.
    """

    threads = 1

    def __init__(self, settings: Settings) -> None:
        self.sample_rate = 22_050
        self.voices: list[str] = []
        self.languages: list[str] = []
        self.language = "und"
        self._settings = settings
        self._piper: Any = None
        self._speaker_ids: dict[str, int] = {}
        self._default = ""
        self._workers = ThreadPoolExecutor(onnx_model.WORKERS, thread_name_prefix="piper")

    def load(self) -> None:
        """Load the voice, and say a word.

        Raises:
            ConfigurationError: the package or the voice is missing or broken, or the speaker is unknown.
        """
        told = self._settings
        if not told.model:
            raise ConfigurationError("piper needs a voice: name its file with --model VOICE.onnx")
        try:
            import piper
            from piper.config import PiperConfig
        except ImportError as error:
            raise ConfigurationError(f"piper-tts is not installed: pip install -r {REQUIREMENTS}") from error
        logging.getLogger("piper").setLevel(logging.WARNING)  # below that, what is said goes into the log
        model = Path(told.model)
        session = onnx_model.load(model, told, INPUTS, "piper voice")
        described = Path(told.voice_config or f"{told.model}.json")
        if not described.is_file():
            raise ConfigurationError(f"there is no description {described} of the voice: name it with --voice_config")
        try:
            description: dict[str, Any] = json.loads(described.read_text("utf-8"))
            config = PiperConfig.from_dict(description)
            self._announce(description, config, model.stem)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise onnx_model.not_loadable("description of a piper voice", described, error) from error
        self._piper = piper.PiperVoice(session=session, config=config)
        try:
            self._make("Yes.", self._speaker_ids[self._default], 1.0, onnx_model.Stoppable(session))
        except Exception as error:  # of the model, or of the phonemizer of some language that wants other packages
            raise onnx_model.not_loadable("piper voice", model, error) from error

    def synthesize(self, text: str, voice: str, language: str, speed: float) -> Generator[bytes, None, None]:
        """Yield pcm at the voice's rate, 40 ms at a time, once the clause is made; `b""` until then.

        Raises:
            InvalidRequestError: no such voice, language or speed.
            EngineError: the engine is not loaded, or the model gave no sound.
        """
        if self._piper is None:
            raise EngineError("the engine is not loaded")
        chosen_language(language, self.languages)
        speaker = self._speaker_ids[chosen_voice(voice, self.voices, self._default)]
        run = onnx_model.Stoppable(self._piper.session)
        return spoken(
            self._workers, partial(self._make, text, speaker, chosen_speed(speed), run), run.stop, self.sample_rate
        )

    def _make(self, text: str, speaker: int, speed: float, run: onnx_model.Stoppable) -> Samples:
        silence = np.zeros(0, np.float32)
        if not any(map(str.isalnum, text)):
            return silence
        from piper.config import SynthesisConfig

        piper = copy.copy(self._piper)
        piper.session = run
        how = SynthesisConfig(speaker_id=speaker, length_scale=piper.config.length_scale / speed)
        # In [[ ]] Piper reads phonemes; nobody here writes any.
        plain = text.replace("\0", " ").replace("[[", " ")
        return np.concatenate([silence, *(chunk.audio_float_array for chunk in piper.synthesize(plain, how))])

    def _announce(self, description: dict[str, Any], config: Any, name: str) -> None:
        self.sample_rate = int(config.sample_rate)
        code = description.get("language", {}).get("code") or config.espeak_voice
        self.language = code.replace("_", "-")
        self.languages = [self.language]
        named = sorted(config.speaker_id_map.items(), key=lambda each: each[1])
        if config.num_speakers <= 1:
            self._speaker_ids = {name: 0}
        else:
            self._speaker_ids = dict(named) or {str(each): each for each in range(config.num_speakers)}
        self.voices = list(self._speaker_ids)
        self._default = self._settings.voice or next(
            (name for name, number in self._speaker_ids.items() if number == config.default_speaker_id), self.voices[0]
        )
        if self._default not in self._speaker_ids:
            raise ConfigurationError(f"piper voice {name} has no speaker {self._default!r}: choose from {self.voices}")
