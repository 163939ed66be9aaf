"""The user's side: is anybody speaking, is anything still being transcribed.

A turn is one utterance as the vad cuts it, numbered by the vad. The machine follows the newest one:

- LISTENING: nobody speaks, everything said is transcribed.
- SPEAKING: the turn is open.
- TRANSCRIBING: the turn is over; a text is still being made. The speaker may go on meanwhile (a new turn opens).

A row of the table that leads to LISTENING or TRANSCRIBING leads to the one of them that is true: some text is awaited
or none is.

Frames travel on several sockets and processes die, so events come late, twice or never. Those of a turn that is not
awaited are dropped by whoever asks `expects` first; an event that the table forbids after that is a bug and raises.
"""

from enum import Enum
from typing import Final

from gateway.core.errors import IllegalTransitionError
from gateway.core.events import (
    InputLost,
    SpeechPaused,
    SpeechResumed,
    SpeechStarted,
    SpeechStopped,
    Transcript,
    TurnFailed,
)

TurnEvent = SpeechStarted | SpeechStopped | Transcript | TurnFailed | InputLost

# Turns whose end may be known before their start is. One is usual; a vad that is far behind may leave more.
EARLY_TURNS: Final = 4


class TurnState(Enum):
    """What the user's side is doing."""

    LISTENING = "listening"
    SPEAKING = "speaking"
    TRANSCRIBING = "transcribing"


TRANSITIONS: dict[TurnState, dict[type[TurnEvent], TurnState]] = {
    TurnState.LISTENING: {
        SpeechStarted: TurnState.SPEAKING,
        InputLost: TurnState.LISTENING,
    },
    TurnState.SPEAKING: {
        SpeechStarted: TurnState.SPEAKING,  # the stop in between was lost
        SpeechStopped: TurnState.TRANSCRIBING,
        Transcript: TurnState.SPEAKING,  # of an earlier turn that this one continues
        TurnFailed: TurnState.SPEAKING,  # the same; or the recogniser died before the turn was over
        InputLost: TurnState.LISTENING,
    },
    TurnState.TRANSCRIBING: {
        SpeechStarted: TurnState.SPEAKING,
        Transcript: TurnState.LISTENING,
        TurnFailed: TurnState.LISTENING,
        InputLost: TurnState.TRANSCRIBING,
    },
}


class Turns:
    """Follows the turns of one session: which one is open, which ones still await their text."""

    def __init__(self) -> None:
        self.state = TurnState.LISTENING
        self.newest = 0
        self.paused = False
        """Whether the speaker of the open turn has fallen silent, as far as the vad has told."""
        self._awaited: set[int] = set()
        self._early: dict[int, Transcript | TurnFailed] = {}  # at most EARLY_TURNS, more are dropped

    @property
    def awaiting(self) -> bool:
        """Whether any turn, the open one included, has no text yet."""
        return bool(self._awaited)

    @property
    def owed(self) -> bool:
        """Whether a turn that is over has no text yet."""
        return bool(self._awaited - ({self.newest} if self.state is TurnState.SPEAKING else set()))

    def awaits(self, turn_id: int) -> bool:
        """Tell whether this turn has no text yet."""
        return turn_id in self._awaited

    def expects(self, event: TurnEvent) -> bool:
        """Tell whether *event* is neither late nor a duplicate."""
        match event:
            case SpeechStarted():
                return event.turn_id > self.newest
            case SpeechStopped():
                return self.state is TurnState.SPEAKING and event.turn_id == self.newest
            case Transcript() | TurnFailed():
                return event.turn_id in self._awaited
            case InputLost():
                return True

    def keep(self, event: Transcript | TurnFailed) -> None:
        """Keep the end of a turn whose start is on its way: the frames of the vad and the asr come on two sockets."""
        if event.turn_id > self.newest and len(self._early) < EARLY_TURNS:
            self._early.setdefault(event.turn_id, event)

    def kept(self, turn_id: int) -> Transcript | TurnFailed | None:
        """Return what was kept for a turn that has begun now, if anything was."""
        early = self._early.pop(turn_id, None)
        self._early = {later: end for later, end in self._early.items() if later > turn_id}
        return early

    def pause(self, event: SpeechPaused | SpeechResumed) -> None:
        """Note that the speaker of the open turn falls silent, or goes on. That changes no state."""
        if self.state is TurnState.SPEAKING and event.turn_id == self.newest:
            self.paused = isinstance(event, SpeechPaused)

    def receive(self, event: TurnEvent) -> None:
        """Apply *event*.

        Raises:
            IllegalTransitionError: the table has no row for it; nothing was changed.
        """
        if type(event) not in TRANSITIONS[self.state]:
            raise IllegalTransitionError(f"{type(event).__name__} while {self.state.value}")
        state = TRANSITIONS[self.state][type(event)]
        match event:
            case SpeechStarted():
                self.newest = event.turn_id
                self._awaited.add(event.turn_id)
            case Transcript() | TurnFailed():
                self._awaited.discard(event.turn_id)
            case InputLost() if self.state is TurnState.SPEAKING:
                self._awaited.discard(self.newest)
        if state is not TurnState.SPEAKING:
            state = TurnState.TRANSCRIBING if self._awaited else TurnState.LISTENING
        self.paused = self.paused and state is TurnState.SPEAKING and not isinstance(event, SpeechStarted)
        self.state = state
