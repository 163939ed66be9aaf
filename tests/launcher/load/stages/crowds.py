"""Loads services that live in the test: well-behaved ones, and those that a test makes misbehave."""

import asyncio
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bus.frames import Frame, answer
from bus.node import Node
from launcher.load.clock import Clock
from launcher.load.findings import Findings
from launcher.load.job import Job
from launcher.load.schedule import Schedule, Turn, Visit
from launcher.load.speech import Phrase
from launcher.load.stages.crowd import StageCrowd
from proto.v1 import speech_pb2 as pb
from tests.support.sound import tone

PHRASE = Phrase("what is the time", tone(440, 0.2))
Behave = Callable[["FakeService", str, Frame], None]


class FakeService:
    """An inbox; *behave* does with each frame what it likes."""

    def __init__(self, folder: Path, role: pb.Role.ValueType, behave: Behave) -> None:
        self._behave = behave
        self._node = Node(f"ipc://{folder}/fake.ipc", role, self._receive)
        self.address = self._node.address
        self.loop = asyncio.get_running_loop()

    def reply(self, frame: Frame, session_id: str = "", **body: Any) -> None:
        """Answer *frame*, or pretend that it was of another session."""
        told = answer(frame.header, **body)
        told.header.session_id = session_id or frame.header.session_id
        self._node.send(frame.header.reply_to, told)

    def pass_on(self, frame: Frame, turn_id: int, **body: Any) -> None:
        """Send to whoever comes next."""
        told = answer(frame.header, **body)
        told.header.turn_id = turn_id
        self._node.send(frame.header.next, told)

    def close(self) -> None:
        """Close the inbox."""
        self._node.close()

    def _receive(self, body: str, frame: Frame) -> None:
        self._behave(self, body, frame)


def schedule(*turns: Turn, seats: int = 1, hangs_up: bool = False, length_ms: int = 600) -> Schedule:
    """Return a schedule in which every seat does the same."""
    told = turns or (Turn(100, 200, 0),)
    visits = tuple(Visit(seat, 0, 0, length_ms, told, hangs_up=hangs_up) for seat in range(seats))
    return Schedule(seats, length_ms, 20, visits)


async def load(
    role: str,
    folder: Path,
    address: str,
    planned: Schedule,
    *,
    patience_s: float = 20.0,
    until: Callable[[Findings], bool] | None = None,
) -> Findings:
    """Carry out *planned*; stop when everything is settled, or else *until* is true, or after *patience_s*."""
    findings = Findings()
    job = Job(role, address, f"ipc://{folder}/load.ipc", planned, (PHRASE,), patience_s, "test")
    with ExitStack() as stack:
        crowd = StageCrowd(job)
        stack.callback(crowd.close_now)
        crowd.begin(Clock(time.monotonic() + 0.05, findings), findings, job.phrases)
        if until is None:
            await asyncio.sleep(0.05 + planned.length_ms / 1000)
        given_up_s = time.monotonic() + patience_s
        # Nobody tells when a crowd is settled: it is asked, as the generator asks.
        while time.monotonic() < given_up_s and not (until(findings) if until else crowd.settled):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        crowd.settle()
    return findings


async def load_fake(
    role: str,
    folder: Path,
    behave: Behave,
    planned: Schedule | None = None,
    *,
    patience_s: float = 20.0,
    until: Callable[[Findings], bool] | None = None,
) -> Findings:
    """Load a service that does what *behave* does."""
    service = FakeService(folder, pb.Role.Value(role.upper()), behave)
    try:
        return await load(role, folder, service.address, planned or schedule(), patience_s=patience_s, until=until)
    finally:
        service.close()


def found_out(found: Findings) -> bool:
    """Tell whether a lie has been noticed."""
    return bool(found.broken)
