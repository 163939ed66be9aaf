"""Loaded speech models that decode windows of many turns in one call. They block: for a thread of its own.

The audio of every window is filled up with silence to the window's length before anything else happens to it, so that
all in a batch are equally long, no padding is to be masked, and a batch gives what each window gives alone.
"""

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from services.asr.whisper import hearing
from services.asr.whisper.guards import Decoded, Guards
from services.asr.whisper.window import FRAMES_PER_S, SAMPLE_RATE, Window

# Thirty seconds of fast speech are some 120 words; Whisper, too, stops at half of its 448 positions.
TOKENS_AT_MOST: Final = 224
NOTHING: Final = Window(np.zeros(SAMPLE_RATE, np.float32), frames=5 * FRAMES_PER_S)


class SpeechModel:
    """What both kinds have in common: features, guards, and text as it is shown.

    *extractor* and *tokenizer* are transformers'; *languages* are what the model is said to know, if anything is.
    """

    def __init__(self, model: Any, extractor: Any, tokenizer: Any, guards: Guards) -> None:
        self._model = model
        self._extractor = extractor
        self._tokenizer = tokenizer
        self._guards = guards

    @property
    def languages(self) -> tuple[str, ...]:
        """Codes of what may be asked; empty: the model does not say."""
        return ()

    @property
    def fixed_window(self) -> bool:
        """Whether the model hears 30 s whatever it is given."""
        return "nb_max_frames" in self._extractor.to_dict()

    def warm_up(self) -> None:
        """Decode silence: what does not fit together shows now.

        Raises:
            Exception: whatever transformers and torch raise.
        """
        self._generate([NOTHING])

    def decode(self, windows: Sequence[Window]) -> list[Decoded]:
        """Return what is understood of each of *windows*, all of one kind.

        Raises:
            Exception: whatever torch raises: too little memory, a device that is lost.
        """
        return hearing.decoded(windows, self._guards.silence_dbfs, self._judged)

    def _judged(self, windows: list[Window]) -> list[Decoded]:
        found = self._generate(windows)
        return [each if self._guards.pass_on(each) else Decoded(language=each.language) for each in found]

    def _generate(self, windows: list[Window]) -> list[Decoded]:
        """Return text, language and log-probability of each of *windows*."""
        raise NotImplementedError

    def _features(self, windows: list[Window]) -> dict[str, Any]:
        import torch

        length = windows[0].frames * SAMPLE_RATE // FRAMES_PER_S
        audio = [np.pad(window.samples[:length], (0, max(0, length - len(window.samples)))) for window in windows]
        features = self._extractor(audio, sampling_rate=SAMPLE_RATE, return_tensors="pt")
        device, dtype = self._model.device, self._model.dtype
        return {
            name: value.to(device, dtype) if torch.is_floating_point(value) else value.to(device)
            for name, value in features.items()
        }

    def _texts(self, tokens: Any) -> list[str]:
        texts = self._tokenizer.batch_decode(tokens, skip_special_tokens=True)
        # Some were taught capitals only, which a language model takes for shouting.
        return [(text.lower() if text.isupper() else text).strip() for text in texts]


class Writing(SpeechModel):
    """A model with a decoder that writes (Whisper, Moonshine, Speech2Text): AutoModelForSpeechSeq2Seq. Greedy."""

    @property
    def languages(self) -> tuple[str, ...]:
        """Whisper's codes of the languages that the model has a token for."""
        return tuple(code.strip("<|>") for code in self._codes)

    @property
    def _codes(self) -> dict[str, int]:
        codes: dict[str, int] = getattr(self._model.generation_config, "lang_to_id", None) or {}
        return codes if getattr(self._model.generation_config, "is_multilingual", False) else {}

    def _generate(self, windows: list[Window]) -> list[Decoded]:
        import torch

        with torch.inference_mode():
            features = self._features(windows)
            told: dict[str, Any] = {}
            languages = [window.language for window in windows]
            if self._codes:
                languages = self._detected(windows, features)
                told = {"language": languages, "task": "transcribe"}
            tokens = self._model.generate(
                **features, **told, do_sample=False, num_beams=1, max_new_tokens=TOKENS_AT_MOST
            )
        return [
            Decoded(text, language, log_prob=-math.inf, no_speech=0.0)  # unknown
            for text, language in zip(self._texts(tokens), languages, strict=True)
        ]

    def _detected(self, windows: list[Window], features: dict[str, Any]) -> list[str]:
        if all(window.language for window in windows):
            return [window.language for window in windows]
        names = {token: code.strip("<|>") for code, token in self._codes.items()}
        likeliest = self._model.detect_language(features["input_features"]).tolist()
        return [window.language or names[token] for window, token in zip(windows, likeliest, strict=True)]


class Spelling(SpeechModel):
    """A model that names a letter for each moment (wav2vec2, HuBERT, MMS, Parakeet-CTC): AutoModelForCTC."""

    def _generate(self, windows: list[Window]) -> list[Decoded]:
        import torch

        with torch.inference_mode():
            logits = self._model(**self._features(windows)).logits.float()
            best, letters = logits.log_softmax(-1).max(-1)
        spelled = letters != self._model.config.pad_token_id  # the others are the spaces between
        sure = (best * spelled).sum(-1) / spelled.sum(-1).clamp(min=1)
        return [
            Decoded(text, window.language, log_prob=log_prob, no_speech=0.0)
            for text, window, log_prob in zip(self._texts(letters), windows, sure.tolist(), strict=True)
        ]
