"""A loaded Whisper that decodes windows of many turns in one call. Blocks: for a thread of its own."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from services.asr.whisper import hearing
from services.asr.whisper.guards import Decoded, Guards
from services.asr.whisper.window import FRAMES_PER_S, LONGEST_S, SAMPLE_RATE, Samples, Window

# The decoder's positions; half of them are for the context (Whisper's own rule).
POSITIONS: Final = 448
LONGEST_CONTEXT: Final = POSITIONS // 2 - 1
NOTHING: Final = Window(np.zeros(SAMPLE_RATE, np.float32), frames=LONGEST_S * FRAMES_PER_S)


class Model:
    """*whisper* is a `faster_whisper.WhisperModel`; finals are searched with *beam_size*, partials greedily."""

    def __init__(self, whisper: Any, guards: Guards, beam_size: int) -> None:
        from faster_whisper.tokenizer import Tokenizer
        from faster_whisper.transcribe import get_suppressed_tokens

        self._whisper = whisper
        self._guards = guards
        self._beam_size = beam_size
        self._detects = False
        self._multilingual: bool = whisper.model.is_multilingual
        self._tokenizer = Tokenizer(whisper.hf_tokenizer, self._multilingual, task="transcribe", language="en")
        self._suppressed = list(get_suppressed_tokens(self._tokenizer, [-1]))

    @property
    def languages(self) -> tuple[str, ...]:
        """Whisper's codes of the languages that the model has a token for."""
        return tuple(code for code in self._whisper.supported_languages if self._token(code) or not self._multilingual)

    def context(self, prompt: str, hotwords: str) -> tuple[int, ...]:
        """Return the tokens that precede what is decoded; the end of *prompt* stays if there are too many."""
        said = [" " + text.strip() for text in (hotwords, prompt) if text.strip()]
        return tuple(token for text in said for token in self._tokenizer.encode(text))[-LONGEST_CONTEXT:]

    @property
    def detects(self) -> bool:
        """Whether the model can name the language of what it hears, once warmed up. English alone is no riddle."""
        return self._detects

    def warm_up(self) -> None:
        """Decode a second of nothing: what does not fit together shows now, and the first turn is as fast as others.

        Raises:
            Exception: whatever CTranslate2 raises.
        """
        encoded = self._encode([NOTHING])
        self._detects = not self._multilingual or bool(self._whisper.model.detect_language(encoded)[0])
        self._whisper.model.generate(encoded, [self._prompt(NOTHING, "en")], beam_size=1, max_length=8)

    def decode(self, windows: Sequence[Window]) -> list[Decoded]:
        """Return what is understood of each of *windows*, all of one kind.

        Raises:
            Exception: whatever CTranslate2 raises: too little memory, a device that is lost.
        """
        return hearing.decoded(
            windows, self._guards.silence_dbfs, lambda heard: [Decoded(*each) for each in self._generate(heard)]
        )

    def _generate(self, windows: list[Window]) -> list[tuple[str, str, float, float]]:
        encoded = self._encode(windows)
        languages = self._languages(windows, encoded)
        found = self._whisper.model.generate(
            encoded,
            [self._prompt(window, language) for window, language in zip(windows, languages, strict=True)],
            beam_size=self._beam_size if windows[0].final else 1,
            max_length=POSITIONS,
            return_scores=True,
            return_no_speech_prob=True,
            suppress_tokens=self._suppressed,
        )
        return [self._judge(each, language) for each, language in zip(found, languages, strict=True)]

    def _judge(self, found: Any, language: str) -> tuple[str, str, float, float]:
        tokens = found.sequences_ids[0]
        text = self._tokenizer.decode(tokens).strip()
        # CTranslate2 divides by the tokens shown; the end of the text is one, too.
        log_prob = found.scores[0] * len(tokens) / (len(tokens) + 1)
        decoded = Decoded(text, language, log_prob, found.no_speech_prob)
        return text if self._guards.pass_on(decoded) else "", language, log_prob, found.no_speech_prob

    def _encode(self, windows: list[Window]) -> Any:
        return self._whisper.encode(np.stack([self._features(window) for window in windows]))

    def _features(self, window: Window) -> Samples:
        """Return the log-mel spectrogram, (n_mels, frames), filled up with zeros as Whisper was trained."""
        mel: Samples = self._whisper.feature_extractor(window.samples)[..., :-1][..., : window.frames]
        return np.pad(mel, ((0, 0), (0, window.frames - mel.shape[-1])))

    def _languages(self, windows: list[Window], encoded: Any) -> list[str]:
        if not self._multilingual:
            return ["en"] * len(windows)
        if all(window.language for window in windows):
            return [window.language for window in windows]
        detected = self._whisper.model.detect_language(encoded)
        return [window.language or likely[0][0].strip("<|>") for window, likely in zip(windows, detected, strict=True)]

    def _prompt(self, window: Window, language: str) -> list[int]:
        tokens = self._tokenizer
        before = [tokens.sot_prev, *window.context] if window.context else []
        spoken = [self._token(language), tokens.transcribe] if self._multilingual else []
        return [*before, tokens.sot, *spoken, tokens.no_timestamps]

    def _token(self, language: str) -> int | None:
        token: int | None = self._whisper.hf_tokenizer.token_to_id(f"<|{language}|>")
        return token
