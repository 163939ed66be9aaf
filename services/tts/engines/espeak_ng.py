"""eSpeak NG in process: the library and voices of the package espeakng-loader, a hundred languages, no download."""

import ctypes
import re
import threading
from collections.abc import Generator
from ctypes import CFUNCTYPE, POINTER, Structure, c_char_p, c_int, c_size_t, c_ubyte, c_uint, c_void_p
from functools import partial
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, Field

from bus.errors import ConfigurationError, EngineError
from services.tts.callback import Emit, pulled
from services.tts.engine import chosen_language, chosen_speed, chosen_voice

# Values of speak_lib.h, eSpeak NG 1.52.
_SYNCHRONOUS: Final = 2  # the callback comes on the thread that asked for speech
_DONT_EXIT: Final = 0x8000  # an error is returned; without it the library ends the process
_CHARS_UTF8: Final = 1
_RATE: Final = 1
_OK: Final = 0
_CONTINUE: Final = 0
_ABORT: Final = 1

NORMAL_WPM: Final = 175
# What the library takes; speeds outside 0.46..2.57 sound like these.
SLOWEST_WPM, FASTEST_WPM = 80, 450
# Length of the library's buffer in ms; 60 is the least it uses. Cancel takes hold at the next.
_BUFFER_MS: Final = 60

# There is one synthesiser in a process, with one state.
_SYNTHESISER: Final = threading.Lock()


class Settings(BaseModel):
    """What the engine can be told."""

    voice: str = Field("", description="voice where the request names none (f2, m3, ...); empty: the language's own")
    language: str = Field("en-us", description="language where the request names none, BCP 47")


class _Voice(Structure):
    _fields_ = (
        ("name", c_char_p),
        ("languages", c_void_p),  # a byte of priority, then the code, for each language; ends with a zero byte
        ("identifier", c_char_p),
        ("gender", c_ubyte),
        ("age", c_ubyte),
        ("variant", c_ubyte),
        ("xx1", c_ubyte),
        ("score", c_int),
        ("spare", c_void_p),
    )


_Callback = CFUNCTYPE(c_int, c_void_p, c_int, c_void_p)


class Engine:
    """Speaks many languages; every voice speaks each of them.

    The library has one global state, so that one synthesis runs at a time in a process: `threads` is 1, and callers
    that come together wait for each other, in no order that is promised.
    """

    threads = 1

    def __init__(self, settings: Settings) -> None:
        self.sample_rate = 22050
        self.voices: list[str] = []
        self.languages: list[str] = []
        self._default_voice = settings.voice
        self.language = settings.language
        self._espeak: Any = None
        self._selected = ""  # what the library speaks with now
        self._emit: Emit | None = None
        self._failure: Exception | None = None
        self._callback = _Callback(self._on_audio)

    def load(self) -> None:
        """Start the library and ask it for its languages.

        Raises:
            ConfigurationError: the package is missing, or the voice or language set as default.
        """
        try:
            import espeakng_loader

            library, folder = espeakng_loader.get_library_path(), espeakng_loader.get_data_path()
            self._espeak = ctypes.CDLL(library)
        except (ImportError, OSError) as error:
            raise ConfigurationError("espeak-ng is not installed: pip install espeakng-loader") from error
        _declare(self._espeak)
        with _SYNTHESISER:
            rate = self._espeak.espeak_Initialize(_SYNCHRONOUS, _BUFFER_MS, str(folder).encode(), _DONT_EXIT)
        if rate <= 0:
            raise ConfigurationError("espeak-ng finds no voices: pip install --force-reinstall espeakng-loader")
        self.sample_rate = rate
        self.languages = _languages(self._espeak)
        variants = (path.name for path in (Path(folder) / "voices" / "!v").iterdir())
        self.voices = sorted(name for name in variants if re.fullmatch(r"[a-z]+\d*", name))
        self._check_defaults()

    def synthesize(self, text: str, voice: str, language: str, speed: float) -> Generator[bytes, None, None]:
        """Yield pcm at `sample_rate` (22 050 Hz), 60 ms at a time.

        Raises:
            InvalidRequestError: no such voice, language or speed.
        """
        spoken = chosen_language(language, self.languages, self.language)
        variant = chosen_voice(voice, self.voices, self._default_voice)
        rate = min(max(round(NORMAL_WPM * chosen_speed(speed)), SLOWEST_WPM), FASTEST_WPM)
        selected = f"{spoken}+{variant}" if variant else spoken
        return pulled(partial(self._speak, text.replace("\0", " ").encode(), selected, rate))

    def _speak(self, text: bytes, selected: str, rate: int, emit: Emit) -> None:
        with _SYNTHESISER:
            self._emit, self._failure = emit, None
            espeak = self._espeak
            espeak.espeak_SetSynthCallback(self._callback)
            if selected != self._selected:
                self._selected = ""
                if espeak.espeak_SetVoiceByName(selected.encode()) != _OK:
                    raise EngineError("espeak-ng could not load the voice")
                self._selected = selected
            espeak.espeak_SetParameter(_RATE, rate, 0)
            status = espeak.espeak_Synth(text, len(text) + 1, 0, 0, 0, _CHARS_UTF8, None, None)
            self._emit, failure = None, self._failure
        if failure is not None:
            raise failure
        if status != _OK:
            raise EngineError(f"espeak-ng failed with status {status}")

    def _on_audio(self, samples: int | None, count: int, _events: int) -> int:
        try:
            if samples is None or count <= 0 or self._emit is None:
                return _CONTINUE
            return _ABORT if self._emit(ctypes.string_at(samples, 2 * count)) else _CONTINUE
        except Exception as error:  # noqa: BLE001 - must not escape into C; raised by _speak
            self._failure = error
            return _ABORT

    def _check_defaults(self) -> None:
        language, voice = self.language, self._default_voice
        if language not in self.languages:
            raise ConfigurationError(f"espeak-ng speaks no {language!r}; choose --language from {self.languages}")
        if voice and voice not in self.voices:
            raise ConfigurationError(f"espeak-ng has no voice {voice!r}; choose --voice from {self.voices}")


def _declare(espeak: Any) -> None:
    espeak.espeak_Initialize.argtypes = [c_int, c_int, c_char_p, c_int]
    espeak.espeak_ListVoices.restype = POINTER(POINTER(_Voice))
    espeak.espeak_ListVoices.argtypes = [c_void_p]
    espeak.espeak_SetSynthCallback.argtypes = [_Callback]
    espeak.espeak_SetVoiceByName.argtypes = [c_char_p]
    espeak.espeak_SetParameter.argtypes = [c_int, c_int, c_int]
    espeak.espeak_Synth.argtypes = [c_char_p, c_size_t, c_uint, c_int, c_uint, c_uint, c_void_p, c_void_p]


def _languages(espeak: Any) -> list[str]:
    voices = espeak.espeak_ListVoices(None)
    found: list[str] = []
    for voice in iter(voices):
        if not voice:  # the list ends with a null pointer
            break
        if not voice.contents.identifier.startswith(b"mb/"):  # those need files of the MBROLA project
            found.append(ctypes.string_at(voice.contents.languages + 1).decode())
    return sorted(set(found))
