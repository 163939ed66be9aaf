"""One thread that decodes what many turns ask for, in rounds."""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeAlias

import structlog

from bus.errors import EngineError
from services.asr import metrics
from services.asr.whisper.guards import Decoded
from services.asr.whisper.rounds import Rounds
from services.asr.whisper.window import Window

log = structlog.get_logger(__name__)

Decode: TypeAlias = Callable[[Sequence[Window]], list[Decoded]]


@dataclass(eq=False, slots=True)
class Ticket:
    """One window that somebody waits for."""

    window: Window
    answer: asyncio.Future[Decoded]
    asked_at: float = field(default_factory=time.monotonic)

    @property
    def kind(self) -> tuple[int, int, bool]:
        """The window's."""
        return self.window.kind


class Scheduler:
    """Collects for *gather_s* after the first of a round was asked for, then gives the round to *decode*.

    If *decode* raises, the round is halved until the guilty window is alone, which fails. What waits is bounded as
    `Rounds` says. `ask`, `renew` and `drop` belong to the event loop.
    """

    def __init__(self, decode: Decode, rounds: Rounds[Ticket], gather_s: float) -> None:
        self._decode = decode
        self._rounds = rounds
        self._gather_s = gather_s
        self._changed = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="whisper", daemon=True)
        self._thread.start()

    def ask(self, window: Window) -> Ticket:
        """Have *window* decoded.

        Raises:
            EngineError: the scheduler has stopped.
        """
        ticket = Ticket(window, asyncio.get_running_loop().create_future())
        with self._changed:
            if self._stopped:
                raise EngineError("the recogniser has stopped")
            self._rounds.add(ticket)
            self._notify()
        return ticket

    def renew(self, ticket: Ticket, window: Window) -> bool:
        """Put *window*, which holds more, in the place of the one that waits; tell whether it still did."""
        with self._changed:
            waits = ticket in self._rounds
            if waits and window.final == ticket.window.final:
                ticket.window = window  # where it stands in the queue it stays
            elif waits:
                self._rounds.drop(ticket)
                ticket.window = window
                self._rounds.add(ticket)
                self._notify()
        return waits

    def drop(self, ticket: Ticket) -> None:
        """Forget it. What is being decoded already is decoded for nothing. Idempotent."""
        ticket.answer.cancel()
        with self._changed:
            self._rounds.drop(ticket)
            self._notify()

    async def stop(self, patience_s: float = 5.0) -> None:
        """End the thread after its round, waiting at most *patience_s* for it; what waits fails. Idempotent."""
        with self._changed:
            self._stopped = True
            while round_ := self._rounds.take():
                for ticket in round_:
                    _settle(ticket, EngineError("the recogniser has stopped"))
            self._notify()
        await asyncio.to_thread(self._thread.join, patience_s)

    def _notify(self) -> None:
        metrics.TURNS_WAITING.set(self._rounds.finals)
        self._changed.notify()

    def _run(self) -> None:
        while round_ := self._next():
            kind = "final" if round_[0].window.final else "partial"
            metrics.BATCH_WINDOWS.labels(kind).observe(len(round_))
            self._work(round_)

    def _next(self) -> list[Ticket]:
        """Wait for a round; none: stopped."""
        with self._changed:
            while not self._stopped:
                oldest = self._rounds.oldest
                left_s = None if oldest is None else oldest.asked_at + self._gather_s - time.monotonic()
                if left_s is not None and (left_s <= 0 or self._rounds.full):
                    break
                self._changed.wait(left_s)
            round_ = self._rounds.take()
            metrics.TURNS_WAITING.set(self._rounds.finals)
            return round_

    def _work(self, round_: list[Ticket]) -> None:
        try:
            found = self._decode([ticket.window for ticket in round_])
        except Exception as error:  # noqa: BLE001 - CTranslate2 raises RuntimeError, MemoryError, ValueError and others
            self._fail(round_, error)
            return
        for ticket, decoded in zip(round_, found, strict=True):
            _settle(ticket, decoded)

    def _fail(self, round_: list[Ticket], error: Exception) -> None:
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        if len(round_) == 1:
            log.error("a window could not be decoded", error=reason)
            _settle(round_[0], EngineError(f"the recogniser failed: {type(error).__name__}"))
            return
        log.warning("a batch failed and is split", windows=len(round_), error=reason)
        metrics.BATCHES_SPLIT.inc()
        half = len(round_) // 2
        self._work(round_[:half])
        self._work(round_[half:])


def _settle(ticket: Ticket, outcome: Decoded | EngineError) -> None:
    """Answer on the ticket's own loop, whichever thread this is."""

    def settle() -> None:
        if ticket.answer.done():
            return
        if isinstance(outcome, EngineError):
            ticket.answer.set_exception(outcome)
            ticket.answer.exception()  # a partial that nobody awaits any more is no news
        else:
            ticket.answer.set_result(outcome)

    with suppress(RuntimeError):  # the loop has closed
        ticket.answer.get_loop().call_soon_threadsafe(settle)
