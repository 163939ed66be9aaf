"""Decides when a turn begins, pauses and ends. A state machine without I/O, one for each session.

It hears speech probabilities window by window, with their positions, and says what they mean. Its clock is the audio:
positions are sample counts at 16 kHz, time passes only when audio does.

    QUIET     no turn is open
    ONSET     speech was heard, though not for `min_speech_ms` yet; nobody has been told
    SPEAKING  a turn is open
    LULL      a turn is open, the speaker is silent
    PAUSED    the same, and the gateway has been told
    WAITING   the same, and a model has said that the speaker has not finished
    HELD      a turn is open that only a commit ends (manual mode)

Speech begins with a probability of `threshold` or more; silence begins only below `threshold` - 0.15, and only a window
below that ends or pauses a turn (as Silero's own VADIterator does it). What lies between changes nothing.
A turn opens after `min_speech_ms` of it; what the detector is known to miss of an onset counts, too.
At a pause a model may be asked whether the turn is over (`advise`). If it is, the turn ends where the model was asked,
however much silence has been heard since; if not, a longer silence ends it. Until the model has answered, and without
one, `silence_duration_ms` rules.

Turns never overlap: none begins before the end of the one before it, nor before the audio that a clear forgot.
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

SAMPLES_PER_MS: Final = 16
# Silero's VADIterator: the distance that keeps a probability that trembles about the threshold from cutting a word.
HYSTERESIS: Final = 0.15
LEAST_NEGATIVE_THRESHOLD: Final = 0.01


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a session asks of its endpointing. Times in milliseconds of audio."""

    threshold: float = 0.5
    prefix_padding_ms: int = 300
    silence_duration_ms: int = 500
    min_speech_ms: int = 64
    pause_ms: int = 0  # 0: pauses are not told
    max_speech_ms: int = 120_000
    manual: bool = False
    end_of_turn_threshold: float = 0.0  # 0: no model is asked
    unfinished_silence_ms: int = 0  # 0: silence_duration_ms


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """A turn began: its audio begins at *at*; the detector had heard up to *decided_at*."""

    at: int
    decided_at: int


@dataclass(frozen=True, slots=True)
class SpeechPaused:
    """The speaker fell silent at *at*; the turn is still open. This was known at *decided_at*."""

    at: int
    decided_at: int


@dataclass(frozen=True, slots=True)
class SpeechResumed:
    """The speaker went on at *at*."""

    at: int


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    """The turn is over: its audio, closing silence included, ends at *at*; all before *decided_at* had been heard."""

    at: int
    decided_at: int


Event = SpeechStarted | SpeechPaused | SpeechResumed | SpeechStopped


class State(Enum):
    """See the module's text."""

    QUIET = auto()
    ONSET = auto()
    SPEAKING = auto()
    LULL = auto()
    PAUSED = auto()
    WAITING = auto()
    HELD = auto()


class Cue(Enum):
    """What the audio, or the gateway, says."""

    VOICE = auto()  # a window at or above the threshold
    SILENCE = auto()  # a window below the negative threshold
    SPOKEN = auto()  # speech has lasted for min_speech_ms
    PAUSE = auto()  # silence has lasted for pause_ms
    MORE = auto()  # a model expects more of the speaker
    END = auto()  # silence or max_speech_ms is over, a model or a commit says so, or audio is missing
    CLEAR = auto()  # forget what is open
    HOLD = auto()  # audio came, or the mode changed, in manual mode
    RELEASE = auto()  # manual mode is over
    RESUME = auto()  # a turn is open that began elsewhere


_OPEN_ENDS: Final = {Cue.END: State.QUIET, Cue.CLEAR: State.QUIET, Cue.HOLD: State.HELD}

TRANSITIONS: Final[dict[State, dict[Cue, State]]] = {
    State.QUIET: {
        Cue.VOICE: State.ONSET,
        Cue.SILENCE: State.QUIET,
        Cue.CLEAR: State.QUIET,
        Cue.HOLD: State.HELD,
        Cue.RESUME: State.SPEAKING,
    },
    State.ONSET: {
        Cue.VOICE: State.ONSET,
        Cue.SILENCE: State.QUIET,  # a false start
        Cue.SPOKEN: State.SPEAKING,
        Cue.CLEAR: State.QUIET,
        Cue.HOLD: State.HELD,
    },
    State.SPEAKING: {Cue.VOICE: State.SPEAKING, Cue.SILENCE: State.LULL, **_OPEN_ENDS},
    State.LULL: {Cue.VOICE: State.SPEAKING, Cue.SILENCE: State.LULL, Cue.PAUSE: State.PAUSED, **_OPEN_ENDS},
    State.PAUSED: {Cue.VOICE: State.SPEAKING, Cue.SILENCE: State.PAUSED, Cue.MORE: State.WAITING, **_OPEN_ENDS},
    State.WAITING: {Cue.VOICE: State.SPEAKING, Cue.SILENCE: State.WAITING, **_OPEN_ENDS},
    State.HELD: {Cue.HOLD: State.HELD, Cue.END: State.QUIET, Cue.CLEAR: State.QUIET, Cue.RELEASE: State.SPEAKING},
}


# The gateway was told of the silence, so it is told of its end.
_TOLD: Final = (State.PAUSED, State.WAITING)
_SILENT: Final = (State.LULL, *_TOLD)


class IllegalCueError(Exception):
    """A cue that the table forbids in this state: a bug here or in the caller."""


class Endpointer:
    """Turns probabilities into events. Call its methods in the order of the audio, each sample once.

    *onset_lag_ms*: how much speech the detector misses before the first window that it calls so.
    """

    def __init__(self, parameters: Parameters, onset_lag_ms: int = 0) -> None:
        self.parameters = parameters
        self._onset_lag = onset_lag_ms * SAMPLES_PER_MS
        self.state = State.QUIET
        self._floor = 0  # no turn begins before this
        self._onset = 0  # where the speech of ONSET began
        self._began = 0  # where the open turn's audio begins
        self._silent_from = 0  # where the silence of LULL, PAUSED or WAITING began
        self._paused_at = 0  # what had been heard when it was told

    @property
    def open(self) -> bool:
        """Whether a turn is open that the gateway knows of."""
        return self.state is not State.QUIET and self.state is not State.ONSET

    def hear(self, start: int, end: int, probability: float) -> list[Event]:
        """Take the window [*start*, *end*) with its speech *probability*. Not in manual mode."""
        asked = self.parameters
        events: list[Event] = []
        silent = False
        if probability >= asked.threshold:
            self._on_voice(start, events)
        elif probability < max(asked.threshold - HYSTERESIS, LEAST_NEGATIVE_THRESHOLD):
            silent = True
            self._on_silence(start)
        spoken = self._onset_lag + end - self._onset
        if self.state is State.ONSET and spoken >= asked.min_speech_ms * SAMPLES_PER_MS:
            self._go(Cue.SPOKEN)
            self._begin(self._earliest(self._onset), end, events)
        if silent and self.open:
            silence = end - self._silent_from
            if silence >= self._patience_ms() * SAMPLES_PER_MS:
                self._end(end, end, events)
            elif self.state is State.LULL and 0 < asked.pause_ms * SAMPLES_PER_MS <= silence:
                self._go(Cue.PAUSE)
                self._paused_at = end
                events.append(SpeechPaused(self._silent_from, end))
        if self.open and end >= self.limit(start):
            self._end(end, end, events)
        return events

    def next_end(self, start: int, window_samples: int) -> int:
        """Return where the window that brings audio from *start* on should end.

        A window on, or sooner where the silence is complete that ends the turn: nobody has to send the rest first.
        """
        end = start + window_samples
        if self.state in _SILENT:
            complete = self._silent_from + self._patience_ms() * SAMPLES_PER_MS
            if start < complete < end:
                return complete
        return end

    def advise(self, asked_at: int, probability: float, at: int) -> list[Event]:
        """Take the *probability* that the turn was over in the pause told at *asked_at*; *at* is the next to be heard.

        Ignored if that pause is over, or no advice is wanted any more.
        """
        events: list[Event] = []
        threshold = self.parameters.end_of_turn_threshold
        if self.state is State.PAUSED and self._paused_at == asked_at and threshold > 0:
            if probability >= threshold:
                self._end(asked_at, at, events)
            else:
                self._go(Cue.MORE)
        return events

    def hold(self, start: int, end: int) -> list[Event]:
        """Take the audio [*start*, *end*) in manual mode; *end* is at most `limit(start)`."""
        events: list[Event] = []
        before = self.state
        self._go(Cue.HOLD)
        if before is State.QUIET:
            self._begin(start, start, events)
        elif before is State.ONSET:  # the mode changed in the middle of it
            self._begin(self._earliest(self._onset), start, events)
        if end >= self.limit(start):
            self._end(end, end, events)
        return events

    def limit(self, start: int) -> int:
        """Return where a turn that is open at *start*, or begins there, must end at the latest."""
        return max((self._began if self.open else start) + self.parameters.max_speech_ms * SAMPLES_PER_MS, start)

    def commit(self, at: int) -> list[Event]:
        """End the open turn at *at*. Without one, nothing happens."""
        events: list[Event] = []
        if self.open:
            self._end(at, at, events)
        return events

    def clear(self, at: int) -> None:
        """Forget the open turn and all audio before *at*."""
        self._go(Cue.CLEAR)
        self._floor = at

    def miss(self, at: int) -> list[Event]:
        """Take note that audio is missing at *at*: no turn reaches across."""
        events = self.commit(at)
        self.clear(at)
        return events

    def replace(self, parameters: Parameters, at: int) -> list[Event]:
        """Use *parameters* from *at* on. A turn that is open goes on."""
        if parameters.prefix_padding_ms > self.parameters.prefix_padding_ms:
            self._floor = self.keep_from(at)  # the caller has not kept what lies before it
        self.parameters = parameters
        events: list[Event] = []
        if parameters.manual and self.open:
            if self.state in _TOLD:
                events.append(SpeechResumed(at))
            self._go(Cue.HOLD)
        elif not parameters.manual and self.state is State.HELD:
            self._go(Cue.RELEASE)
        return events

    def resume(self, at: int) -> None:
        """Have a turn open at *at*, before any audio: it began at another vad, and nobody is told."""
        self._go(Cue.RESUME)
        self._began = at
        if self.parameters.manual:
            self._go(Cue.HOLD)

    def keep_from(self, at: int) -> int:
        """Return the first position that a later turn may begin at, when *at* is the next to be heard."""
        if self.open:
            return at
        return self._earliest(self._onset if self.state is State.ONSET else at)

    def _on_voice(self, start: int, events: list[Event]) -> None:
        before = self.state
        self._go(Cue.VOICE)
        if before is State.QUIET:
            self._onset = start
        elif before in _TOLD:
            events.append(SpeechResumed(start))

    def _on_silence(self, start: int) -> None:
        before = self.state
        self._go(Cue.SILENCE)
        if before is State.SPEAKING:
            self._silent_from = start

    def _patience_ms(self) -> int:
        asked = self.parameters
        if self.state is State.WAITING:
            return max(asked.unfinished_silence_ms, asked.silence_duration_ms)
        return asked.silence_duration_ms

    def _earliest(self, onset: int) -> int:
        return max(onset - self.parameters.prefix_padding_ms * SAMPLES_PER_MS, self._floor)

    def _begin(self, at: int, decided_at: int, events: list[Event]) -> None:
        self._began = at
        events.append(SpeechStarted(at, decided_at))

    def _end(self, at: int, decided_at: int, events: list[Event]) -> None:
        self._go(Cue.END)
        self._floor = at
        events.append(SpeechStopped(at, decided_at))

    def _go(self, cue: Cue) -> None:
        after = TRANSITIONS[self.state].get(cue)
        if after is None:
            raise IllegalCueError(f"{cue.name} in {self.state.name}")
        self.state = after
