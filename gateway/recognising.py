"""The turns of one session at the recognisers: whose they are, and how a turn gets to another one.

A vad streams a turn to the asr that it was told. When that one refuses, fails or dies, the whole turn is sent from here
to another as soon as the core has all of it, and waits for one if there is none: the core's time-out ends that.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from bus.frames import Frame, Header
from gateway.bus_link import BusLink
from gateway.core import commands as do
from gateway.core import events as ev
from gateway.core.input import BLOCK_BYTES
from gateway.core.turn import EARLY_TURNS
from gateway.metrics import TURNS_AGAIN
from gateway.places import Places
from gateway.registry import Replica
from proto.v1 import speech_pb2 as pb

# What the last holder of a turn is remembered for; turns end in seconds.
FAILED_KEPT: Final = 8


class Recognising:
    """*tell* takes what the core has to know; *newest_turn* returns the number of the turn that began last."""

    def __init__(
        self,
        link: BusLink,
        places: Places,
        session_id: str,
        tell: Callable[[ev.TurnFailed | ev.TurnTaken], None],
        newest_turn: Callable[[], int],
    ) -> None:
        self._link = link
        self._places = places
        self._session_id = session_id
        self._tell = tell
        self._newest_turn = newest_turn
        self._ended_early: set[int] = set()  # turns whose end came before their start, at most EARLY_TURNS
        self._pending: dict[int, do.RecogniseAgain] = {}
        self._failed: dict[int, Replica] = {}
        self._generations: dict[int, int] = {}  # of turns that were sent again; bounded by the turns without a text
        self.recognition = pb.Recognition()
        """As the session asks for it now."""

    def began(self, turn_id: int, inbox: str) -> None:
        """Count the place of a turn whose audio the vad sends to *inbox*."""
        if turn_id in self._ended_early:
            pass  # it is known already what became of it
        elif not self._places.take_asr(turn_id, inbox):
            # Told now, not when the transcript is overdue: the whole turn is sent when there is somebody.
            self._tell(ev.TurnFailed(turn_id, f"asr: {self._link.none_for(ev.Role.ASR)}", retryable=True, refused=True))
        self._ended_early = {turn for turn in self._ended_early if turn > turn_id}

    def ended(self, turn_id: int) -> None:
        """Give the place of a turn back that the recogniser has done with, or take none when its start comes."""
        self._forget(turn_id)
        if turn_id > self._newest_turn() and len(self._ended_early) < EARLY_TURNS:
            self._ended_early.add(turn_id)

    def failed(self, header: Header, message: str, *, retryable: bool, refused: bool = False) -> None:
        """Give up what a recogniser refused, or failed at."""
        turn_id = header.turn_id
        if header.generation < self._generations.get(turn_id, 0):
            return  # of the one that had it before
        replica = self._places.asr(turn_id)
        self.ended(turn_id)
        if replica is not None:
            self._remember(turn_id, replica)
        self._tell(ev.TurnFailed(turn_id, f"asr: {message}", retryable, refused))

    def lost(self, replica: Replica) -> None:
        """Give up what *replica* was doing: it is gone."""
        for turn_id in self._places.turns_at(replica):
            self._places.release_asr(turn_id)
            self._tell(ev.TurnFailed(turn_id, "asr: the service is gone", retryable=True))

    def cancel(self, turn_id: int, generation: int) -> None:
        """Stop the recognition of a turn; what was begun before *generation*, or sent again by us, is stale."""
        generation = max(generation, self._generations.get(turn_id, 0) + 1)
        replica = self._places.asr(turn_id)
        if replica is not None and not replica.gone:
            header = Header(session_id=self._session_id, turn_id=turn_id, generation=generation)
            self._link.send(replica.inbox, Frame(header=header, cancel=pb.Cancel()))
        self._forget(turn_id)

    def again(self, command: do.RecogniseAgain, generation: int) -> None:
        """Send a turn to another recogniser, now or when there is one; *generation* is above that of the vad's."""
        turn_id = command.turn_id
        generation = max(generation, self._generations.get(turn_id, 0) + 1)
        replica = self._places.asr(turn_id)
        if replica is not None:
            self.cancel(turn_id, generation)
            self._remember(turn_id, replica)
        if command.elsewhere and turn_id in self._pending:  # nobody was there all the time
            del self._pending[turn_id]
            self._give_up(turn_id, f"asr: {self._link.none_for(ev.Role.ASR)}")
            return
        self._generations[turn_id] = generation
        self._pending[turn_id] = command
        self._try(command)

    def look_again(self) -> None:
        """Send what waits for a recogniser, if there is one now."""
        for command in list(self._pending.values()):
            if self._try(command):
                self._tell(ev.TurnTaken(command.turn_id))

    def _try(self, command: do.RecogniseAgain) -> bool:
        """Send a turn if there is a recogniser; return whether there was."""
        turn_id = command.turn_id
        replica = self._places.retake_asr(turn_id, self._failed.get(turn_id), strictly=bool(command.elsewhere))
        if replica is not None:
            del self._pending[turn_id]
            self._send(replica, command)
        elif command.elsewhere:
            del self._pending[turn_id]
            self._give_up(turn_id, command.elsewhere)
        else:
            self._link.wait(self._session_id)
        return replica is not None

    def _send(self, replica: Replica, command: do.RecogniseAgain) -> None:
        TURNS_AGAIN.inc()
        header = Header(
            session_id=self._session_id,
            turn_id=command.turn_id,
            generation=self._generations[command.turn_id],
            reply_to=self._link.address,
        )
        starts = range(0, max(len(command.pcm), 1), BLOCK_BYTES)
        for start in starts:
            speech = pb.Speech(
                pcm=command.pcm[start : start + BLOCK_BYTES],
                at_sample=command.at_sample + start // 2,
                last=start == starts[-1],
                recognition=self.recognition if start == 0 else None,
            )
            self._link.send(replica.inbox, Frame(header=header, speech=speech))

    def _give_up(self, turn_id: int, message: str) -> None:
        # Later, not now: the core's commands are still being carried out.
        asyncio.get_running_loop().call_soon(self._tell, ev.TurnFailed(turn_id, message))

    def _forget(self, turn_id: int) -> None:
        self._places.release_asr(turn_id)
        self._pending.pop(turn_id, None)
        self._failed.pop(turn_id, None)
        self._generations.pop(turn_id, None)

    def _remember(self, turn_id: int, replica: Replica) -> None:
        self._failed[turn_id] = replica
        while len(self._failed) > FAILED_KEPT:
            del self._failed[next(iter(self._failed))]
