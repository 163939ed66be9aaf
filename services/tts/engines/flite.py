"""Flite in process: Debian's libflite by ctypes, streaming, without any download."""

import ctypes
import textwrap
import unicodedata
from collections.abc import Generator
from ctypes import CFUNCTYPE, POINTER, Structure, c_char_p, c_float, c_int, c_short, c_void_p
from functools import partial
from typing import Any, Final, Literal

from pydantic import BaseModel, Field

from bus.errors import ConfigurationError, EngineError
from services.tts.callback import Emit, pulled
from services.tts.engine import chosen_language, chosen_speed, chosen_voice

SAMPLE_RATE: Final = 16000
LANGUAGE: Final = "en-US"
# Name -> name in the library. kal16 is the 16 kHz recording of kal.
VOICES: Final = {"slt": "cmu_us_slt", "kal": "cmu_us_kal16", "awb": "cmu_us_awb", "rms": "cmu_us_rms"}
# Samples between two callbacks: 20 ms. Cancel takes hold at the next.
_BUFFER: Final = 320
# Flite plans a whole utterance before its first sample, which takes 0.4 ms for a character of text.
_UTTERANCE_CHARACTERS: Final = 300
# Values of cst_audio.h, flite 2.2.
_CONTINUE: Final = 0
_STOP: Final = -1

_ASCII: Final = str.maketrans(
    {"’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "—": ", ", "…": "...", "ß": "ss", "æ": "ae", "ø": "o"}  # noqa: RUF001
)


class Settings(BaseModel):
    """What the engine can be told."""

    voice: Literal["slt", "kal", "awb", "rms"] = Field("slt", description="voice where the request names none")


class _Wave(Structure):
    _fields_ = (
        ("type", c_char_p),
        ("sample_rate", c_int),
        ("num_samples", c_int),
        ("num_channels", c_int),
        ("samples", POINTER(c_short)),
    )


_Callback = CFUNCTYPE(c_int, POINTER(_Wave), c_int, c_int, c_int, c_void_p)


class _Streaming(Structure):
    _fields_ = (
        ("min_buffsize", c_int),
        ("asc", _Callback),
        ("utt", c_void_p),
        ("item", c_void_p),
        ("userdata", c_void_p),
    )


class _Utterance(Structure):
    _fields_ = (("features", c_void_p), ("ffunctions", c_void_p), ("relations", c_void_p), ("ctx", c_void_p))


class Engine:
    """Speaks US English with the voices of Carnegie Mellon University.

    A voice is only read during synthesis: what belongs to one call (text, speed, callback) is set on its utterance,
    whose features go before those of the voice. So one voice serves all threads. slt, awb and rms mix in noise from
    the C library's `rand`; their samples differ a little from one call to the next.
    """

    sample_rate = SAMPLE_RATE
    language = LANGUAGE
    threads = 0  # all cores

    def __init__(self, settings: Settings) -> None:
        self.voices = list(VOICES)
        self.languages = [LANGUAGE]
        self._default = settings.voice
        self._flite: Any = None
        self._voices: dict[str, int] = {}

    def load(self) -> None:
        """Load the library and those of its voices that are installed.

        Raises:
            ConfigurationError: the library or the voice set as default is missing.
        """
        self._flite = _library()
        for name, symbol in VOICES.items():
            try:
                register = getattr(ctypes.CDLL(f"lib{_file(symbol)}.so.1"), f"register_{symbol}")
            except OSError:
                continue
            register.restype, register.argtypes = c_void_p, [c_char_p]
            self._voices[name] = register(None)
        self.voices = list(self._voices)
        if self._default not in self._voices:
            raise _missing(f"flite's voice {self._default}")

    def synthesize(self, text: str, voice: str, language: str, speed: float) -> Generator[bytes, None, None]:
        """Yield pcm at 16 kHz, 20 ms at a time.

        Raises:
            InvalidRequestError: no such voice, language or speed.
        """
        chosen_language(language, self.languages)
        spoken_by = self._voices[chosen_voice(voice, self.voices, self._default)]
        return self._pieces(text, spoken_by, 1 / chosen_speed(speed))

    def _pieces(self, text: str, voice: int, stretch: float) -> Generator[bytes, None, None]:
        for utterance in textwrap.wrap(ascii_of(text), _UTTERANCE_CHARACTERS):
            if any(map(str.isalnum, utterance)):
                yield from pulled(partial(self._speak, utterance.encode("ascii"), voice, stretch))

    def _speak(self, text: bytes, voice: int, stretch: float, emit: Emit) -> None:
        failures: list[Exception] = []

        def on_audio(wave: Any, start: int, size: int, _last: int, _streaming: int) -> int:
            try:
                samples = ctypes.addressof(wave.contents.samples.contents)
                return _STOP if emit(ctypes.string_at(samples + 2 * start, 2 * size)) else _CONTINUE
            except Exception as error:  # noqa: BLE001 - must not escape into C; raised below
                failures.append(error)
                return _STOP

        callback = _Callback(on_audio)
        flite = self._flite
        utterance = flite.new_utterance()
        streaming = flite.new_audio_streaming_info()  # from here on the utterance's, freed with it
        streaming.contents.min_buffsize = _BUFFER
        streaming.contents.asc = callback
        features = utterance.contents.features
        flite.flite_feat_set(features, b"streaming_info", flite.audio_streaming_info_val(streaming))
        flite.flite_feat_set_string(features, b"input_text", text)
        flite.flite_feat_set_float(features, b"duration_stretch", stretch)
        done = flite.flite_do_synth(utterance, voice, ctypes.cast(flite.utt_synth, c_void_p))
        if done:
            flite.delete_utterance(done)
        if failures:
            raise failures[0]
        if not done:  # flite has deleted the utterance
            raise EngineError("flite gave no utterance")


def ascii_of(text: str) -> str:
    """Return *text* in the letters flite knows: accents dropped, other scripts and control characters left out."""
    folded = unicodedata.normalize("NFKD", text.translate(_ASCII)).encode("ascii", "ignore").decode("ascii")
    return "".join(character if character.isprintable() else " " for character in folded)


def _file(symbol: str) -> str:
    return f"flite_{symbol}"


def _missing(what: str) -> ConfigurationError:
    return ConfigurationError(f"{what} is not installed: apt-get install libflite1, or choose --engine espeak-ng")


def _library() -> Any:
    try:
        flite = ctypes.CDLL("libflite.so.1", mode=ctypes.RTLD_GLOBAL)
        # The voices look for these two when they are loaded.
        for name in ("cmulex", "usenglish"):
            ctypes.CDLL(f"libflite_{name}.so.1", mode=ctypes.RTLD_GLOBAL)
    except OSError as error:
        raise _missing("flite") from error
    flite.new_utterance.restype = POINTER(_Utterance)
    flite.new_audio_streaming_info.restype = POINTER(_Streaming)
    flite.audio_streaming_info_val.restype = c_void_p
    flite.audio_streaming_info_val.argtypes = [POINTER(_Streaming)]
    flite.flite_feat_set.argtypes = [c_void_p, c_char_p, c_void_p]
    flite.flite_feat_set_string.argtypes = [c_void_p, c_char_p, c_char_p]
    flite.flite_feat_set_float.argtypes = [c_void_p, c_char_p, c_float]
    flite.flite_do_synth.restype = POINTER(_Utterance)
    flite.flite_do_synth.argtypes = [POINTER(_Utterance), c_void_p, c_void_p]
    flite.delete_utterance.argtypes = [POINTER(_Utterance)]
    flite.flite_init()  # does nothing when called again
    return flite
