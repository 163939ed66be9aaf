"""The vad service: sessions in, the engine stepped for all of them at once.

Audio waits with its session. A step takes the next window of every session that has one, as many as the engine likes,
the longest waiting first; what arrives during a step waits for the next one. So a lone session is heard at once, many
share their steps (which begin a few ms apart then), and one that sends minutes at a time gets one window in a step
like everybody. No frame costs a task or a future.
"""

import asyncio
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

import numpy as np
import structlog

from bus.errors import EngineError
from bus.frames import Frame
from bus.jobs import Job, Scope
from bus.serve import Description
from proto.v1 import speech_pb2 as pb
from services.vad import metrics
from services.vad.end_of_turn.advisor import Advisor
from services.vad.end_of_turn.model import Model
from services.vad.engine import Engine, Floats
from services.vad.session import Session

log = structlog.get_logger(__name__)

# With more than `FEW` sessions a step begins the engine's `pace_s` after the one before it, or once enough windows are
# due: alone a window costs twice what it costs among 16, and some ms are nothing beside the silence that ends a turn.
FEW: Final = 16
# Full scale of 16 bits.
SCALE: Final = np.float32(1 / 32768)


class VadHandler:
    """Hears sessions with *engine*; asks *model*, if there is one, whether those who pause have finished.

    What waits is bounded in each session (`Intake`); beyond it, that one fails.
    """

    role = pb.VAD
    scope = Scope.SESSION
    accepts = frozenset({"session_open", "session_update", "audio", "input_commit", "input_clear"})
    early: frozenset[str] = frozenset()

    def __init__(self, engine: Engine, model: Model | None = None) -> None:
        self._engine = engine
        self._advisor = Advisor(model, self._advised) if model is not None else None
        self._sessions: dict[Job, Session] = {}
        self._due: deque[Session] = deque()  # at most one entry for each session
        self._freed: list[int] = []  # rows of sessions that closed
        self._windows: Floats = np.empty((engine.most_windows, engine.window_samples), np.float32)
        self._stepping = False  # a step is scheduled, or runs on the thread
        self._began_at = 0.0  # of the last step, loop time
        self._timer: asyncio.TimerHandle | None = None  # of the next
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="vad-engine")

    async def load(self) -> Description:
        """Make the engine ready."""
        self._loop = asyncio.get_running_loop()
        await self._loop.run_in_executor(self._thread, self._engine.load)
        capabilities = pb.Capabilities(sample_rates=[16_000], streaming=True)
        if self._advisor is not None:
            await self._advisor.load()
            capabilities.end_of_turn = self._advisor.name
        return Description(self._engine.name, self._engine.model, capabilities)

    def opens(self, body: str, frame: Frame) -> bool:  # noqa: ARG002 - the interface's
        """Tell whether *frame* asks for a new lease."""
        return body == "session_open"

    def open(self, job: Job) -> None:
        """Nothing yet: the frame that comes next says what is wanted."""

    def receive(self, job: Job, body: str, frame: Frame) -> None:
        """Give *frame* to its session.

        Raises:
            JobError: it cannot be used, or too much is waiting; ends the session.
        """
        session = self._sessions.get(job)
        if session is None:
            ask = partial(self._advisor.ask, job) if self._advisor is not None else None
            engine = self._engine
            session = self._sessions[job] = Session(job, frame, engine.window_samples, ask, engine.onset_lag_ms)
        else:
            session.take(body, frame)
        self._settle(session)

    def close(self, job: Job) -> None:
        """Forget the session."""
        session = self._sessions.pop(job, None)
        if self._advisor is not None:
            self._advisor.forget(job)
        if session is not None and session.row is not None:
            self._freed.append(session.row)  # a step may be using it

    async def stop(self) -> None:
        """Wait for the step that runs."""
        if self._timer is not None:
            self._timer.cancel()
        if self._advisor is not None:
            self._advisor.stop()
        await asyncio.to_thread(self._thread.shutdown)

    def _advised(self, job: Job, at: int, probability: float | None) -> None:
        session = self._sessions.get(job)
        if session is None:
            return
        session.advise(at, probability)
        try:
            self._settle(session)
        except Exception as error:  # noqa: BLE001 - one session's bug is not the others' end
            job.end(error)

    def _settle(self, session: Session) -> None:
        if not session.queued and session.settle():
            session.queued = True
            session.job.owed_since = self._loop.time()
            self._due.append(session)
            self._schedule()

    def _schedule(self) -> None:
        if self._stepping or not self._due:
            return
        wait_s = 0.0
        if len(self._sessions) > FEW and len(self._due) < self._engine.enough_windows:
            wait_s = self._began_at + self._engine.pace_s - self._loop.time()
        if wait_s > 0:
            self._timer = self._timer or self._loop.call_later(wait_s, self._step)
        else:
            self._stepping = True
            if self._timer is not None:  # two steps at a time would write over each other's windows
                self._timer.cancel()
                self._timer = None
            self._loop.call_soon(self._step)  # after the frames that came together with this one

    def _step(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._stepping = True
        self._began_at = self._loop.time()
        while self._freed:
            self._engine.free_state(self._freed.pop())
        batch: list[Session] = []
        while self._due and len(batch) < self._engine.most_windows:
            session = self._due.popleft()
            if session.job.closed:
                continue
            if session.row is None:
                session.row = self._engine.new_state()
            session.fill(self._windows[len(batch)])
            batch.append(session)
        if not batch:
            self._stepping = False
            return
        if len(batch) <= self._engine.inline_windows:
            self._stepped(batch, self._run(batch))
        else:
            self._thread.submit(self._run_and_return, batch)

    def _run_and_return(self, batch: list[Session]) -> None:
        result = self._run(batch)
        self._loop.call_soon_threadsafe(self._stepped, batch, result)

    def _run(self, batch: list[Session]) -> list[float] | EngineError:
        """Step the engine, on either thread. Nothing else touches the engine or the windows meanwhile."""
        began = time.perf_counter()
        windows = self._windows[: len(batch)]
        windows *= SCALE
        try:
            probabilities = self._engine.step(windows, np.array([session.row for session in batch], np.intp))
        except EngineError as error:
            return error
        except Exception as error:
            log.exception("engine crashed", sessions=len(batch))
            return EngineError(f"the engine crashed: {type(error).__name__}")
        metrics.STEP_SECONDS.observe(time.perf_counter() - began)
        metrics.BATCH_SIZE.observe(len(batch))
        metrics.WINDOWS.inc(len(batch))
        heard: list[float] = probabilities.tolist()
        return heard

    def _stepped(self, batch: list[Session], result: list[float] | EngineError) -> None:
        self._stepping = False
        for place, session in enumerate(batch):
            session.queued = False
            session.job.owed_since = None
            if session.job.closed:
                continue
            if isinstance(result, EngineError):
                session.job.end(result)
                continue
            try:
                session.hear(result[place])
                self._settle(session)
            except Exception as error:  # noqa: BLE001 - one session's bug is not the others' end
                session.job.end(error)
        self._schedule()
