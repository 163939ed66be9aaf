"""The loop that every service shares.

Inbox, leases, per-session order, cancel on arrival, deadlines, announcements, health and drain are here; a
service is a `Handler`. The loop calls it on the event loop only, in the order in which frames arrived, and never
between a job's `close` and its next `open`. A handler must not block: engines run on other threads or processes.
"""

import asyncio
import signal
import uuid
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol

import structlog

from bus import metrics
from bus.announce import Announcer
from bus.curve import read_keys
from bus.errors import AtCapacityError, DeadlineError, JobError, LeaseExpiredError
from bus.frames import PROTOCOL_VERSION, Frame, Header, answer
from bus.health import Health
from bus.health_server import HealthServer
from bus.jobs import Job, JobKey, Scope, key_of
from bus.node import Node
from bus.settings import ServiceSettings
from proto.v1 import speech_pb2 as pb

log = structlog.get_logger(__name__)

# How often leases, deadlines and the watchdog are looked at. Deadlines are seconds; a tenth late is not noticed.
SWEEP_S: Final = 0.1
# Work that waits so long while nothing completes means that the engine hangs: not ready.
STALLED_S: Final = 15.0
# What a full service suggests: a turn or an answer ends about every second.
RETRY_AFTER_MS: Final = 1000
# Cancels whose generation is remembered; the oldest is forgotten first. Frames older than seconds do not come.
CANCELS_KEPT: Final = 10_000
# Leases that were completed and are remembered, for what was on its way to them then; the oldest is forgotten first.
COMPLETED_KEPT: Final = 10_000
# Frames that came before the one that opens their lease (another sender's, another connection) wait so long, so many.
EARLY_S: Final = 2.0
EARLY_FRAMES: Final = 20_000
EARLY_BYTES: Final = 32 * 1024 * 1024
# What is logged of a message that a peer wrote.
ERROR_CHARACTERS: Final = 300
# ZeroMQ's own thread gets the last frames out in this time, before LINGER 0 drops them.
LAST_FRAMES_S: Final = 0.02


@dataclass(frozen=True)
class Description:
    """What a service tells gateways of itself."""

    engine: str
    model: str = ""
    capabilities: pb.Capabilities = field(default_factory=pb.Capabilities)


class Handler(Protocol):
    """The service's own part."""

    role: pb.Role.ValueType
    scope: Scope
    accepts: frozenset[str]
    """Bodies that belong to a lease."""
    early: frozenset[str]
    """Those of them that may overtake the frame that opens the lease, because another process sends them."""

    async def load(self) -> Description:
        """Make the engine ready. The service says `loading` meanwhile.

        Raises:
            ConfigurationError: the engine cannot run here; ends the process with status 2.
        """
        ...

    def opens(self, body: str, frame: Frame) -> bool:
        """Tell whether *frame* asks for a new lease."""
        ...

    def open(self, job: Job) -> None:
        """Begin the work of a new lease. Its opening frame comes next, by `receive`.

        Raises:
            AtCapacityError: no place after all.
            JobError: the request cannot be served.
        """
        ...

    def receive(self, job: Job, body: str, frame: Frame) -> None:
        """Take a frame of *job*.

        Raises:
            JobError: ends the job; the gateway is told.
        """
        ...

    def close(self, job: Job) -> None:
        """Forget *job* and stop its work: it is done, cancelled, expired or failed."""
        ...

    async def stop(self) -> None:
        """Let go of the engine. Called once, at the end."""
        ...


class Service:
    """Runs one handler on the bus."""

    def __init__(self, handler: Handler, settings: ServiceSettings) -> None:
        self._handler = handler
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        keys = read_keys(settings.bus_keys)
        self._node = Node(settings.bind, handler.role, self._receive, settings.advertise, keys=keys)
        self._jobs: dict[JobKey, Job] = {}
        self._by_session: dict[str, set[JobKey]] = {}
        self._cancelled: OrderedDict[JobKey, int] = OrderedDict()
        self._completed: OrderedDict[JobKey, None] = OrderedDict()
        self._early: dict[JobKey, list[tuple[str, Frame, float]]] = {}
        self._early_count = 0
        self._early_bytes = 0
        self._state: pb.State.ValueType = pb.LOADING
        self._description = Description(engine=settings.engine)
        self._instance_id = uuid.uuid4().hex[:16]
        self._progress_at = self._loop.time()
        self._stalled = False
        self._drained = asyncio.Event()
        self._health = Health(self._why_not_ready)
        self._health_server: HealthServer | None = None
        self._announcer = Announcer(self._node, settings.gateways, self._announcement)

    @property
    def address(self) -> str:
        """The inbox that others reach this service at."""
        return self._node.address

    async def run(self) -> None:
        """Serve until drained (SIGTERM, SIGINT or a Drain frame), then close everything."""
        try:
            self._health_server = HealthServer(self._health, self._settings.health_host, self._settings.health_port)
            for number in (signal.SIGTERM, signal.SIGINT):
                self._loop.add_signal_handler(number, self._on_signal)
            async with asyncio.TaskGroup() as tasks:
                housekeeping = [tasks.create_task(self._announcer.run()), tasks.create_task(self._sweep())]
                await self._load_or_drain(tasks)
                await self._drained.wait()
                await self._announcer.say_goodbye()
                for task in housekeeping:
                    task.cancel()
        finally:
            await self._close()
        log.info("stopped")

    def drain(self) -> None:
        """Refuse new leases, end when those held have ended or `drain_timeout_s` is over."""
        if self._state != pb.DRAINING:
            log.info("draining", leases=len(self._jobs))
            self._state = pb.DRAINING
            metrics.READY.set(0)
            self._announcer.announce()
            self._loop.call_later(self._settings.drain_timeout_s, self._drained.set)
        self._end_if_drained()

    def _send(self, address: str, frame: Frame) -> None:
        self._progress_at = self._loop.time()
        self._node.send(address, frame)

    def _ended(self, job: Job, error: Exception | None) -> None:
        if job.closed:
            return
        match error:
            case None:
                self._remember_completed(job.key)
                self._finish(job, "completed")
            case JobError():
                self._fail(job, error)
            case _:
                self._crash(job, error)

    def _finish(self, job: Job, outcome: str) -> None:
        if job.closed:
            return
        job.closed = True
        self._remove(job)
        self._progress_at = self._loop.time()
        metrics.JOBS.labels(outcome).inc()
        metrics.JOB_SECONDS.observe(self._progress_at - job.opened_at)
        metrics.LEASES.set(len(self._jobs))
        try:
            self._handler.close(job)
        except Exception:
            log.exception("handler failed to close a job", session=job.session_id)
        self._end_if_drained()

    def _remove(self, job: Job) -> None:
        del self._jobs[job.key]
        siblings = self._by_session[job.session_id]
        siblings.discard(job.key)
        if not siblings:
            del self._by_session[job.session_id]

    def _fail(self, job: Job, error: JobError) -> None:
        log.warning("job failed", session=job.session_id, error=str(error), code=pb.Error.Code.Name(error.code))
        self._node.fail(job.header, error.code, str(error), retryable=error.retryable)
        self._finish(job, "failed")

    def _crash(self, job: Job, error: Exception) -> None:
        # Nobody foresaw this error: it is a bug here or in the engine. The other jobs go on.
        log.error("job crashed", session=job.session_id, exc_info=error)
        # Only the type goes out: the text of an unforeseen exception may hold what was said.
        self._node.fail(job.header, pb.Error.ENGINE_FAILED, f"internal error: {type(error).__name__}", retryable=True)
        self._finish(job, "failed")

    # -- inbox --------------------------------------------------------------------------------------------------------

    def _receive(self, body: str, frame: Frame) -> None:
        if body in self._handler.accepts:
            self._receive_work(body, frame)
            return
        header = frame.header
        match body:
            case "cancel":
                self._cancel(header)
            case "session_close":
                self._close_session(header.session_id)
            case "lease_renewal":
                self._renew(frame.lease_renewal.session_ids)
            case "drain":
                self.drain()
            case "error":  # a peer could not use what we sent; answering would go on for ever
                # Without a session it is about our announcements: a gateway that does not use us says why.
                why = "" if header.session_id else frame.error.message[:ERROR_CHARACTERS]
                self._node.drop("peer_error", session=header.session_id, code=frame.error.code, why=why)
            case _:
                self._node.drop("unexpected_body", body=body)
                role = pb.Role.Name(self._handler.role).lower()
                self._node.fail(header, pb.Error.BAD_FRAME, f"a {role} service takes no {body}")

    def _receive_work(self, body: str, frame: Frame) -> None:
        header = frame.header
        key = key_of(self._handler.scope, header)
        job = self._jobs.get(key)
        if header.generation < (job.header.generation if job else 0) or self._is_cancelled(header):
            self._node.drop("stale", session=header.session_id, body=body)
            return
        if job is not None and header.generation > job.header.generation:
            if body in self._handler.early:  # of the same work asked again: its opening frame is on its way
                self._not_admitted(key, body, frame)
                return
            if self._handler.opens(body, frame):  # asked again: nobody wants what the first would still send
                self._finish(job, "superseded")
                job = None
        job = job or self._admit(key, body, frame)
        if job is None:
            return
        self._deliver(job, body, frame)
        for early_body, early_frame, _ in self._pop_early(key):
            if not job.closed and early_frame.header.generation >= job.header.generation:
                self._deliver(job, early_body, early_frame)

    def _deliver(self, job: Job, body: str, frame: Frame) -> None:
        job.renewed_at = self._loop.time()
        try:
            self._handler.receive(job, body, frame)
        except Exception as error:  # noqa: BLE001 - one job's bug is not the others' end
            job.end(error)

    def _admit(self, key: JobKey, body: str, frame: Frame) -> Job | None:
        """Return the new job that *frame* opens, or None after answering why there is none."""
        header = frame.header
        if not self._handler.opens(body, frame):
            self._not_admitted(key, body, frame)
            return None
        if self._state != pb.READY:
            self._refuse(
                header, "not_ready", pb.Refusal(not_ready=pb.NotReady(role=self._handler.role, state=self._state))
            )
            return None
        if len(self._jobs) >= self._settings.capacity:
            self._refuse_at_capacity(header, RETRY_AFTER_MS)
            return None
        self._completed.pop(key, None)
        job = Job(key, header, self._loop.time(), send=self._send, ended=self._ended)
        self._jobs[key] = job
        self._by_session.setdefault(header.session_id, set()).add(key)
        try:
            self._handler.open(job)
        except AtCapacityError as error:
            self._disown(job)
            self._refuse_at_capacity(header, error.retry_after_ms)
        except JobError as error:
            self._disown(job)
            self._node.fail(header, error.code, str(error), retryable=error.retryable)
        except Exception as error:
            self._disown(job)
            log.exception("handler failed to open a job", session=header.session_id)
            self._node.fail(header, pb.Error.ENGINE_FAILED, f"internal error: {type(error).__name__}", retryable=True)
        metrics.LEASES.set(len(self._jobs))
        return None if job.closed else job

    def _disown(self, job: Job) -> None:
        """Forget a job that the handler never took: it is not closed, and says nothing any more."""
        if not job.closed:
            job.closed = True
            self._remove(job)

    def _not_admitted(self, key: JobKey, body: str, frame: Frame) -> None:
        if body in self._handler.early:
            size = frame.ByteSize()
            if self._early_count < EARLY_FRAMES and self._early_bytes + size <= EARLY_BYTES:
                self._early.setdefault(key, []).append((body, frame, self._loop.time()))
                self._early_count += 1
                self._early_bytes += size
                return
        elif key in self._completed:  # a grant crosses the end of most answers: nothing is wrong, nobody need know
            metrics.FRAMES_DROPPED.labels("late").inc()
            return
        self._node.drop("unknown_session", session=frame.header.session_id, body=body)
        self._node.fail(frame.header, pb.Error.UNKNOWN_SESSION, f"no lease here for this {body}", retryable=True)

    def _pop_early(self, key: JobKey) -> list[tuple[str, Frame, float]]:
        if not self._early:
            return []
        frames = self._early.pop(key, [])
        self._early_count -= len(frames)
        self._early_bytes -= sum(frame.ByteSize() for _, frame, _ in frames)
        return frames

    def _forget_early(self, key: JobKey, generation: int) -> None:
        """Drop the early frames that are older than *generation*; 0: all of them."""
        frames = self._pop_early(key)
        for body, frame, at in frames:
            if generation and frame.header.generation >= generation:
                self._early.setdefault(key, []).append((body, frame, at))
                self._early_count += 1
                self._early_bytes += frame.ByteSize()

    def _refuse_at_capacity(self, header: Header, retry_after_ms: int) -> None:
        full = pb.AtCapacity(role=self._handler.role, retry_after_ms=retry_after_ms)
        self._refuse(header, "at_capacity", pb.Refusal(at_capacity=full))

    def _refuse(self, header: Header, reason: str, refusal: pb.Refusal) -> None:
        metrics.LEASES_REFUSED.labels(reason).inc()
        self._node.send(header.reply_to, answer(header, refusal=refusal))

    # -- control ------------------------------------------------------------------------------------------------------

    def _cancel(self, header: Header) -> None:
        self._remember_cancel(header)
        for key in list(self._by_session.get(header.session_id, ())):
            job = self._jobs[key]
            if header.response_id and job.header.response_id != header.response_id:
                continue
            if not header.response_id and header.turn_id and job.header.turn_id != header.turn_id:
                continue
            if header.generation and job.header.generation >= header.generation:
                continue  # it was begun after the cancel, by a frame that came another way
            self._finish(job, "cancelled")
        self._forget_early(key_of(self._handler.scope, header), header.generation)

    def _close_session(self, session_id: str) -> None:
        for key in list(self._by_session.get(session_id, ())):
            self._finish(self._jobs[key], "closed")
        for key in [key for key in self._early if key[0] == session_id]:
            self._pop_early(key)

    def _renew(self, session_ids: Iterable[str]) -> None:
        now = self._loop.time()
        for session_id in session_ids:
            for key in self._by_session.get(session_id, ()):
                self._jobs[key].renewed_at = now

    def _remember_cancel(self, header: Header) -> None:
        """Make what the cancel names stale, and nothing else: the session's other work keeps its generation."""
        key = header.session_id, header.response_id or header.turn_id or ""
        self._cancelled[key] = max(header.generation, self._cancelled.pop(key, 0))
        if len(self._cancelled) > CANCELS_KEPT:
            self._cancelled.popitem(last=False)

    def _remember_completed(self, key: JobKey) -> None:
        self._completed[key] = None
        if len(self._completed) > COMPLETED_KEPT:
            self._completed.popitem(last=False)

    def _is_cancelled(self, header: Header) -> bool:
        # A frame comes under the cancel of its response, of its turn and of its session.
        return bool(self._cancelled) and any(
            header.generation < self._cancelled.get((header.session_id, work), 0)
            for work in {header.response_id, header.turn_id or "", ""}
        )

    # -- time ---------------------------------------------------------------------------------------------------------

    async def _sweep(self) -> None:
        due = self._loop.time()
        while True:
            due = max(due + SWEEP_S, self._loop.time())
            await asyncio.sleep(due - self._loop.time())
            now = self._loop.time()
            metrics.LOOP_LAG.set(now - due)
            queue_age_s = self._queue_age_s(now)
            metrics.QUEUE_AGE.set(queue_age_s)
            self._stalled = queue_age_s > STALLED_S and now - self._progress_at > STALLED_S
            self._health.beat()
            self._node.forget_idle()
            self._end_overdue(now)
            self._drop_old_early(now)

    def _end_overdue(self, now: float) -> None:
        for job in list(self._jobs.values()):
            if job.deadline_at is not None and now >= job.deadline_at:
                self._fail(job, DeadlineError("not done within the request's deadline"))
            elif now - job.renewed_at > self._settings.lease_ttl_s:
                self._fail(job, LeaseExpiredError(f"nothing renewed the lease for {self._settings.lease_ttl_s:g} s"))

    def _drop_old_early(self, now: float) -> None:
        for key, frames in list(self._early.items()):
            if now - frames[0][2] > EARLY_S:
                self._pop_early(key)
                self._node.drop("early_and_never_opened", session=key[0])

    def _queue_age_s(self, now: float) -> float:
        oldest = [since for job in self._jobs.values() if (since := job.waiting_since()) is not None]
        return now - min(oldest) if oldest else 0.0

    # -- state --------------------------------------------------------------------------------------------------------

    async def _load_or_drain(self, tasks: asyncio.TaskGroup) -> None:
        """Load the engine, unless the process is told to stop meanwhile: a download may take minutes."""
        loading = tasks.create_task(self._load())
        drained = tasks.create_task(self._drained.wait())
        await asyncio.wait({loading, drained}, return_when=asyncio.FIRST_COMPLETED)
        loading.cancel()
        drained.cancel()

    async def _load(self) -> None:
        started = self._loop.time()
        self._description = await self._handler.load()
        if self._state == pb.LOADING:  # and not told to drain meanwhile
            self._state = pb.READY
            metrics.READY.set(1)
            log.info(
                "ready",
                engine=self._description.engine,
                model=self._description.model,
                inbox=self.address,
                health=self._health_server.url if self._health_server else "",
                load_s=round(self._loop.time() - started, 2),
            )
        self._announcer.announce()

    def _announcement(self) -> pb.Announcement:
        return pb.Announcement(
            role=self._handler.role,
            instance_id=self._instance_id,
            inbox=self.address,
            engine=self._description.engine,
            model=self._description.model,
            protocol_version=PROTOCOL_VERSION,
            capabilities=self._description.capabilities,
            capacity=self._settings.capacity,
            leases=len(self._jobs),
            queue_age_ms=int(self._queue_age_s(self._loop.time()) * 1000),
            state=self._state,
            health_url=self._health_server.url if self._health_server else "",
        )

    def _why_not_ready(self) -> str:
        # Called on the thread of the health server: looks at nothing that the loop changes meanwhile.
        if self._state != pb.READY:
            return pb.State.Name(self._state).lower()
        if self._stalled:
            return f"work is queued and nothing completed for {STALLED_S:.0f} s"
        return ""

    def _on_signal(self) -> None:
        if self._state == pb.DRAINING:  # asked twice: now
            self._drained.set()
        self.drain()

    def _end_if_drained(self) -> None:
        if self._state == pb.DRAINING and not self._jobs:
            self._drained.set()

    async def _close(self) -> None:
        for job in list(self._jobs.values()):
            self._fail(job, JobError("the service is stopping"))
        try:
            await self._handler.stop()
        except Exception:
            log.exception("handler failed to stop")
        await asyncio.sleep(LAST_FRAMES_S)
        self._node.close()
        if self._health_server is not None:
            await asyncio.to_thread(self._health_server.close)
