"""Jobs that are coroutines: each ends once, whichever way it goes."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from bus.frames import Frame, Header
from bus.jobs import Job, Scope
from bus.serve import Description
from bus.tasks import TaskHandler
from proto.v1 import speech_pb2 as pb
from tests.support.bus import PATIENCE_S, FakeGateway, serving


class Worker:
    """Does what its request says."""

    role = pb.LLM
    scope = Scope.RESPONSE
    accepts = frozenset({"generation_request", "text_delta"})
    early: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.stopped = False

    async def load(self) -> Description:
        return Description(engine="worker")

    def opens(self, body: str, _frame: Frame) -> bool:
        return body == "generation_request"

    async def handle(self, job: Job) -> None:
        async for _, frame in job.frames():
            match frame.generation_request.instructions:
                case "hang":
                    self.started.set()
                    try:
                        await asyncio.sleep(3600)
                    except asyncio.CancelledError:
                        self.cancelled.set()
                        raise
                case "library cancels":
                    raise asyncio.CancelledError
            job.reply(text_delta=frame.text_delta)
            if frame.text_delta.text == "end":
                return

    async def stop(self) -> None:
        self.stopped = True


Running = tuple[FakeGateway, str, Worker]


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    worker = Worker()
    async with serving(TaskHandler(worker), capacity=1) as (gateway, service):
        yield gateway, service, worker
    assert worker.stopped


def ask(running: Running, word: str, response_id: str = "r1") -> None:
    gateway, service, _ = running
    request = pb.GenerationRequest(instructions=word)
    gateway.send(service, Header(session_id="s1", response_id=response_id), generation_request=request)


def say(running: Running, *texts: str) -> None:
    for text in texts:
        running[0].send(running[1], Header(session_id="s1", response_id="r1"), text_delta=pb.TextDelta(text=text))


async def test_a_job_reads_its_frames_in_order_and_gives_its_place_back(running: Running) -> None:
    ask(running, "")
    say(running, "a", "b", "end")
    said = [(await running[0].next("text_delta")).text_delta.text for _ in range(4)]
    assert said == ["", "a", "b", "end"]
    ask(running, "", response_id="r2")
    assert (await running[0].next("text_delta", "refusal")).HasField("text_delta")


async def test_a_cancel_reaches_the_task(running: Running) -> None:
    gateway, service, worker = running
    ask(running, "hang")
    async with asyncio.timeout(PATIENCE_S):
        await worker.started.wait()
    gateway.send(service, Header(session_id="s1", response_id="r1", generation=1), cancel=pb.Cancel())
    async with asyncio.timeout(PATIENCE_S):
        await worker.cancelled.wait()
    ask(running, "", response_id="r2")
    await gateway.next("text_delta")
    assert gateway.bodies() == ["text_delta"]


async def test_closing_the_session_ends_its_tasks(running: Running) -> None:
    gateway, service, worker = running
    ask(running, "hang")
    async with asyncio.timeout(PATIENCE_S):
        await worker.started.wait()
    gateway.send(service, None, session_close=pb.SessionClose())
    async with asyncio.timeout(PATIENCE_S):
        await worker.cancelled.wait()


async def test_work_that_cancels_itself_is_an_error_and_keeps_no_place(running: Running) -> None:
    ask(running, "library cancels")
    assert (await running[0].next("error")).error.code == pb.Error.ENGINE_FAILED
    ask(running, "", response_id="r2")
    assert (await running[0].next("text_delta", "refusal")).HasField("text_delta")
