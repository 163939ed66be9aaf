"""One turn (`services.asr.engine.Stream`): keeps its audio, asks the scheduler, puts the text together."""

import asyncio
import math
from dataclasses import dataclass

from bus.errors import EngineError
from services.asr.engine import Recognised
from services.asr.whisper.guards import Decoded
from services.asr.whisper.scheduler import Scheduler, Ticket
from services.asr.whisper.window import LONGEST_S, Window, cut, frames_for, samples_of


@dataclass(frozen=True, slots=True)
class Asked:
    """What the turn wants of the model."""

    context: tuple[int, ...] = ()
    language: str = ""
    window_s: float = LONGEST_S


class Turn:
    """Nothing is decoded before `partial` or `finish` ask for it, and whole utterances then.

    A turn of more than 30 s is decoded window by window, one after the other; a window that is full is decoded once.
    The whole audio is kept: at most `services.asr.assembly.TURN_SAMPLES`, 10 MB.
    """

    def __init__(self, scheduler: Scheduler, asked: Asked) -> None:
        self._scheduler = scheduler
        self._asked = asked
        self._pcm = bytearray()
        self._settled: list[Decoded] = []
        self._begin = 0  # where in the audio the first window begins that is not settled
        self._partial: Ticket | None = None
        self._final: Ticket | None = None
        self._over = False

    async def accept(self, pcm: bytes) -> None:
        """Keep the next audio."""
        self._pcm += pcm

    async def partial(self) -> str:
        """Return the text of what is here; whoever asks meanwhile gets the same answer, of the newest audio.

        Raises:
            EngineError: the window could not be decoded, or the turn is over.
        """
        self._check()
        window = self._window(partial=True)
        ticket = self._partial
        if ticket is None or ticket.answer.done():
            ticket = self._partial = self._scheduler.ask(window)
        else:
            # One that is being decoded is answered soon; a second beside it would only take time from others.
            self._scheduler.renew(ticket, window)
        found = await _answer(ticket)
        if found is None:
            return _joined(self._settled)
        if ticket.window.final:
            self._settle(ticket.window, found)
            return _joined(self._settled)
        return _joined([*self._settled, found])

    async def finish(self) -> Recognised:
        """Return the text of the turn.

        Raises:
            EngineError: a window could not be decoded, or the turn is over.
        """
        if self._partial is not None:
            self._scheduler.drop(self._partial)
        self._check()
        while self._begin < len(self._pcm):
            self._final = self._scheduler.ask(self._window(partial=False))
            found = await _answer(self._final)
            self._check()
            if found is not None:
                self._settle(self._final.window, found)
        text = _joined(self._settled)
        return Recognised(
            text,
            language=self._language if text else "",
            confidence=min((math.exp(found.log_prob) for found in self._settled if found.text), default=0.0),
            busy_s=sum(found.busy_s for found in self._settled),
        )

    def cancel(self) -> None:
        """Leave the scheduler, forget the audio."""
        self._over = True
        self._pcm.clear()
        for ticket in (self._partial, self._final):
            if ticket is not None:
                self._scheduler.drop(ticket)

    def _check(self) -> None:
        if self._over:
            raise EngineError("the turn is over")

    @property
    def _language(self) -> str:
        """What was asked for, else what was heard first."""
        return self._asked.language or next((found.language for found in self._settled if found.text), "")

    def _window(self, *, partial: bool) -> Window:
        end = cut(self._pcm, self._begin)
        samples = samples_of(self._pcm[self._begin : end])
        return Window(
            samples,
            frames_for(len(samples), self._asked.window_s),
            self._asked.context,
            self._language,
            final=not partial or end < len(self._pcm),
            end=end,
        )

    def _settle(self, window: Window, found: Decoded) -> None:
        if window.end > self._begin:
            self._begin = window.end
            self._settled.append(found)


async def _answer(ticket: Ticket) -> Decoded | None:
    """Wait for the answer; none: the ticket was dropped. Who waits may be cancelled without harm to others."""
    await asyncio.wait({ticket.answer})
    return None if ticket.answer.cancelled() else ticket.answer.result()


def _joined(found: list[Decoded]) -> str:
    return " ".join(each.text for each in found if each.text)
