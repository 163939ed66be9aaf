"""Worker processes and the turns that share them: each worker has one turn at a time, the others wait in order.

A turn keeps its worker until it is finished or cancelled. While it waits its audio is kept here; how many may wait is
the service's capacity, how much each may keep is the longest turn (`services.asr.assembly.TURN_SAMPLES`, 10 MB).
"""

import asyncio
import sys
from collections import deque
from collections.abc import Coroutine
from contextlib import suppress
from itertools import count
from typing import Any, Final

import structlog

from bus.errors import ConfigurationError, EngineError
from services.asr import metrics
from services.asr.engine import Recognised
from services.asr.sphinx.remote import Worker
from services.asr.sphinx.wire import Kind, unpack_final

log = structlog.get_logger(__name__)

COMMAND: Final = (sys.executable, "-m", "services.asr.sphinx.worker")
# Between attempts to replace a worker.
RETRY_S: Final = 1.0


class Turn:
    """The stream of one turn (`services.asr.engine.Stream`). Waits in *pool* until a worker is free."""

    def __init__(self, pool: "Pool", number: int) -> None:
        self.number = number
        self._pool = pool
        self._worker: Worker | None = None
        self._waiting: list[tuple[Kind, bytes]] = []
        self._error: EngineError | None = None
        self._awaited = Kind.READY
        self._answer: asyncio.Future[bytes] | None = None

    async def accept(self, pcm: bytes) -> None:
        """Hand the next audio to the worker, or keep it until there is one."""
        self._tell(Kind.AUDIO, pcm)

    async def partial(self) -> str:
        """Return the text understood so far; none while waiting for a worker."""
        return "" if self._worker is None else (await self._ask(Kind.ASK, Kind.PARTIAL)).decode()

    async def finish(self) -> Recognised:
        """Return the text of the turn. The worker is free then."""
        text, confidence, busy_s = unpack_final(await self._ask(Kind.FINISH, Kind.FINAL))
        return Recognised(text, "en-US" if text else "", confidence, busy_s)

    def cancel(self) -> None:
        """Free the worker, or the place in the queue."""
        self._pool.leave(self)

    def assign(self, worker: Worker) -> None:
        """Go to work with all that has been kept."""
        self._worker = worker
        worker.send(Kind.BEGIN, self.number)
        for kind, payload in self._waiting:
            worker.send(kind, self.number, payload)
        self._waiting.clear()

    def hear(self, kind: Kind, payload: bytes) -> None:
        """Take an answer of the worker."""
        if kind is self._awaited and self._answer is not None and not self._answer.done():
            self._answer.set_result(payload)

    def fail(self, error: EngineError) -> None:
        """Let whatever is asked of this turn, now or later, end with *error*."""
        self._error = error
        self._waiting.clear()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)

    async def _ask(self, kind: Kind, awaited: Kind) -> bytes:
        self._tell(kind)
        self._awaited = awaited
        self._answer = asyncio.get_running_loop().create_future()
        return await self._answer

    def _tell(self, kind: Kind, payload: bytes = b"") -> None:
        if self._error is not None:
            raise self._error
        if self._worker is None:
            self._waiting.append((kind, payload))
        else:
            self._worker.send(kind, self.number, payload)


class Pool:
    """*size* workers, and the turns that wait for one in the order in which they began."""

    def __init__(self, size: int, command: tuple[str, ...] = COMMAND) -> None:
        self._size = size
        self._command = command
        self._numbers = count(1)
        self._waiting: deque[Turn] = deque()
        self._turns: dict[Worker, Turn | None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = False

    async def start(self) -> None:
        """Start all workers at once; return when their models are loaded.

        Raises:
            ConfigurationError: one could not start.
        """
        starting = [Worker.start(self._command) for _ in range(self._size)]
        failed: BaseException | None = None
        for outcome in await asyncio.gather(*starting, return_exceptions=True):
            if isinstance(outcome, BaseException):
                failed = outcome
            else:
                self._employ(outcome)
        if failed is not None:
            await self.stop()
            see = f"{' '.join(self._command)} </dev/null"
            raise ConfigurationError(f"{failed}; to see why, run: {see}") from failed

    @property
    def workers(self) -> list[Worker]:
        """The workers that live."""
        return list(self._turns)

    @property
    def free(self) -> int:
        """How many workers have no turn."""
        return sum(turn is None for turn in self._turns.values())

    def join(self) -> Turn:
        """Return a new turn, last in the queue."""
        turn = Turn(self, next(self._numbers))
        if self._stopped:
            turn.fail(EngineError("the recogniser has stopped"))
        else:
            self._waiting.append(turn)
            self._assign()
        return turn

    def leave(self, turn: Turn) -> None:
        """Take *turn* out of the queue or from its worker. Idempotent."""
        turn.fail(EngineError("the turn is over"))
        if turn in self._waiting:
            self._waiting.remove(turn)
            self._count_waiting()
        for worker, working_for in self._turns.items():
            if working_for is turn:
                worker.cancel(turn.number)

    async def stop(self) -> None:
        """End all workers. Turns that are open fail. Idempotent."""
        self._stopped = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(worker.stop() for worker in self._turns))
        for turn in [*self._turns.values(), *self._waiting]:
            if turn is not None:
                turn.fail(EngineError("the recogniser has stopped"))
        self._turns.clear()
        self._waiting.clear()
        self._count_waiting()

    def _employ(self, worker: Worker) -> None:
        self._turns[worker] = None
        self._spawn(self._listen(worker))
        self._assign()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _assign(self) -> None:
        for worker, turn in self._turns.items():
            if turn is None and self._waiting:
                self._turns[worker] = first = self._waiting.popleft()
                first.assign(worker)
        self._count_waiting()

    def _count_waiting(self) -> None:
        metrics.TURNS_WAITING.set(len(self._waiting))

    async def _listen(self, worker: Worker) -> None:
        """Pass on what *worker* says until it dies; then replace it."""
        with suppress(EOFError):
            while True:
                kind, number, payload = await worker.receive()
                turn = self._turns[worker]
                if turn is None or turn.number != number:  # of a turn that was finished when it was cancelled
                    continue
                turn.hear(kind, payload)
                if kind in {Kind.FINAL, Kind.FREE}:
                    worker.obeyed()
                    self._turns[worker] = None
                    self._assign()
        turn = self._turns.pop(worker)
        if turn is not None:
            turn.fail(EngineError("the worker that recognised this turn died"))
        metrics.WORKERS_LOST.inc()
        await worker.stop()
        log.error("worker lost", status=worker.process.returncode)
        await self._replace()

    async def _replace(self) -> None:
        while True:
            try:
                worker = await Worker.start(self._command)
            except (EngineError, OSError) as error:
                log.warning("no new worker", error=str(error))
                await asyncio.sleep(RETRY_S)
            else:
                self._employ(worker)
                return
