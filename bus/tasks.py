"""A handler whose jobs are coroutines: for services that answer requests rather than step through audio."""

import asyncio
from typing import Protocol

from bus.errors import EngineError
from bus.frames import Frame
from bus.jobs import Job, Scope
from bus.serve import Description
from proto.v1 import speech_pb2 as pb


class Work(Protocol):
    """What such a service is made of."""

    role: pb.Role.ValueType
    scope: Scope
    accepts: frozenset[str]
    early: frozenset[str]

    async def load(self) -> Description:
        """Make the engine ready (see `bus.serve.Handler.load`)."""
        ...

    def opens(self, body: str, frame: Frame) -> bool:
        """Tell whether *frame* asks for a new lease."""
        ...

    async def handle(self, job: Job) -> None:
        """Do the whole of *job*: read `job.frames()`, answer by `job.reply` and `job.forward`, return when done.

        Cancelled (`asyncio.CancelledError`) when the job is; then let go of the engine at once.

        Raises:
            JobError: the job failed; the gateway is told.
        """
        ...

    async def stop(self) -> None:
        """Let go of the engine."""
        ...


class TaskHandler:
    """Runs one task per job; the job's frames wait in its own bounded queue."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._tasks: dict[Job, asyncio.Task[None]] = {}
        self.role = work.role
        self.scope = work.scope
        self.accepts = work.accepts
        self.early = work.early

    async def load(self) -> Description:
        """Make the engine ready."""
        return await self._work.load()

    def opens(self, body: str, frame: Frame) -> bool:
        """Tell whether *frame* asks for a new lease."""
        return self._work.opens(body, frame)

    def open(self, job: Job) -> None:
        """Start the job's task."""
        task = asyncio.get_running_loop().create_task(self._run(job))
        self._tasks[job] = task
        task.add_done_callback(lambda _: self._tasks.pop(job, None))

    def receive(self, job: Job, body: str, frame: Frame) -> None:
        """Queue *frame* for the job's task."""
        job.put(body, frame, asyncio.get_running_loop().time())

    def close(self, job: Job) -> None:
        """Cancel the job's task, unless it is the one that ends the job."""
        task = self._tasks.get(job)
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    async def stop(self) -> None:
        """Wait for the tasks that were cancelled, then let go of the engine."""
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await self._work.stop()

    async def _run(self, job: Job) -> None:
        try:
            await self._work.handle(job)
        except asyncio.CancelledError:
            # Not by us, if the job is open: a library under the engine cancelled itself. The lease must not stay.
            job.end(EngineError("the engine's work was cancelled"))
            raise
        except Exception as error:  # noqa: BLE001 - one job's bug is not the others' end
            job.end(error)
        else:
            job.end()
