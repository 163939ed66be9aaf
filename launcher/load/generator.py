"""A generator process: carries out its share of the schedule, says how far it is, hands over what it found."""

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Final, Protocol

import uvloop

from launcher.errors import LauncherError
from launcher.load.clock import Clock
from launcher.load.findings import Findings
from launcher.load.job import Job
from launcher.load.speech import Phrase

# From the word "go" to the first moment of the schedule.
START_S: Final = 0.3
TELL_EVERY_S: Final = 0.5
POLL_S: Final = 0.05
# The last frames leave.
LAST_FRAMES_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Told:
    """What a generator says: *word* is connected, running, spoken, found or failed."""

    word: str
    findings: Findings | None = None
    why: str = ""


class Crowd(Protocol):
    """The sessions of a process."""

    async def connect(self) -> None:
        """Make ready whoever is there from the beginning."""
        ...

    def begin(self, clock: Clock, findings: Findings, phrases: tuple[Phrase, ...]) -> None:
        """Have *clock* do everything that is planned."""
        ...

    @property
    def settled(self) -> bool:
        """Whether all that is waited for has come."""
        ...

    def settle(self) -> None:
        """Count what came and what did not."""
        ...

    async def close(self) -> None:
        """Leave nothing behind."""
        ...


def run(parent: Connection, job: Job) -> None:
    """Be a generator process: connect, wait for the moment to begin, do the job, say what was found."""
    with suppress(KeyboardInterrupt, BrokenPipeError, EOFError):
        try:
            uvloop.run(_run(parent, job))
        except LauncherError as error:
            parent.send(Told("failed", why=str(error)))


def crowd(job: Job) -> Crowd:
    """Return the sessions that *job* asks for."""
    if job.kind in ("vad", "asr", "llm", "tts"):
        from launcher.load.stages.crowd import StageCrowd

        return StageCrowd(job)
    from launcher.load.clients.crowd import ClientCrowd

    return ClientCrowd(job)


async def _run(parent: Connection, job: Job) -> None:
    people = crowd(job)
    findings = Findings()
    try:
        await people.connect()
        parent.send(Told("connected"))
        start_s = await asyncio.to_thread(parent.recv)
        cpu_s = time.process_time()
        people.begin(Clock(start_s, findings), findings, job.phrases)
        end_s = start_s + job.schedule.length_ms / 1000
        while (left_s := end_s - time.monotonic()) > 0:
            await asyncio.sleep(min(left_s, TELL_EVERY_S))
            parent.send(Told("running", _summary(findings)))
        findings.cpu_s = time.process_time() - cpu_s
        parent.send(Told("spoken"))
        given_up_s = end_s + job.patience_s
        # Asked now and then: to be told by every session would cost what is measured.
        while not people.settled and time.monotonic() < given_up_s:  # noqa: ASYNC110
            await asyncio.sleep(POLL_S)
        people.settle()
        parent.send(Told("found", findings))
        await asyncio.sleep(LAST_FRAMES_S)
    finally:
        await people.close()


def _summary(findings: Findings) -> Findings:
    """Return what the person at the terminal sees meanwhile."""
    latest = {"latency": findings.times.get("latency", [])[-50:]}
    return Findings(times=latest, counts=findings.counts.copy(), errors=findings.errors.copy())
