"""The turns that have no text yet, and what becomes of those whose recogniser fails: each may be tried once more.

The vad streams a turn to an asr while it is spoken. When that asr fails, refuses or dies, or the vad that streams it
does, the gateway sends the whole turn to another asr as soon as it is over, from the audio that it has kept.
"""

from dataclasses import dataclass
from typing import Final

from gateway.core.commands import RecogniseAgain
from gateway.core.input import InputAudio

# A turn that two recognisers failed at is not tried a third time. A refusal is no failure: nothing was done.
MOST_FAILURES: Final = 2


@dataclass(slots=True)
class Utterance:
    """A turn in the input audio; *end* is None while it is open."""

    start: int
    end: int | None = None
    failures: int = 0
    left: bool = False
    """Whether the asr that had it will not answer, and no other has it yet."""
    elsewhere: str = ""
    """Why only another asr than the last may have it; empty if any may."""


class Utterances:
    """Keeps the audio of turns until they have their texts. Positions are samples on the session's audio clock."""

    def __init__(self, audio: InputAudio) -> None:
        self._audio = audio
        self._open: dict[int, Utterance] = {}

    def begin(self, turn_id: int, at_sample: int) -> None:
        """Keep the audio of a turn from *at_sample* on."""
        self._open[turn_id] = Utterance(at_sample)
        self._keep()

    def stop(self, turn_id: int, at_sample: int) -> list[RecogniseAgain]:
        """Note where a turn ends; return what has to be sent again, now that all of it is there."""
        utterance = self._open.get(turn_id)
        if utterance is None:
            return []
        utterance.end = at_sample
        return self._send_again(turn_id, utterance) if utterance.left else []

    def end(self, turn_id: int) -> None:
        """Forget a turn: it has its text, or will never have one. Idempotent."""
        if self._open.pop(turn_id, None) is not None:
            self._keep()

    def interrupted(self, turn_id: int) -> None:
        """Note that the asr has heard only a part of the open turn: it is sent again when it is over."""
        utterance = self._open.get(turn_id)
        if utterance is not None:
            utterance.left = True

    def failed(self, turn_id: int, *, refused: bool = False, elsewhere: str = "") -> list[RecogniseAgain] | None:
        """Note that an asr has failed at a turn, or *refused* it.

        Return what has to be sent again now (nothing while the turn is open), None if the turn is not tried again. With
        *elsewhere*, the reason, it is tried at another asr or not at all.
        """
        utterance = self._open.get(turn_id)
        if utterance is None:
            return None
        if utterance.left:  # known already
            return []
        utterance.failures += not refused
        if utterance.failures >= MOST_FAILURES:
            return None
        utterance.left = True
        utterance.elsewhere = elsewhere
        if utterance.end is None:
            return []
        return self._send_again(turn_id, utterance) or None

    def _send_again(self, turn_id: int, utterance: Utterance) -> list[RecogniseAgain]:
        utterance.left = False
        found = self._audio.between(utterance.start, utterance.end or utterance.start)
        if found is None:
            return []
        at_sample, pcm = found
        return [RecogniseAgain(turn_id, at_sample, pcm, utterance.elsewhere)]

    def _keep(self) -> None:
        self._audio.keep_from = min((utterance.start for utterance in self._open.values()), default=None)
