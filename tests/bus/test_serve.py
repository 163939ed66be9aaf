"""The loop that every service shares, driven from outside by frames."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from bus.errors import EngineError
from bus.frames import Frame, Header
from bus.jobs import Job, Scope
from bus.serve import Description
from bus.tasks import TaskHandler
from proto.v1 import speech_pb2 as pb
from tests.support.bus import FakeGateway, serving


class Parrot:
    """A generation service that says back what it is told, fails on "fail", crashes on "crash", hangs on "hang"."""

    role = pb.LLM
    scope = Scope.RESPONSE
    accepts = frozenset({"generation_request"})
    early: frozenset[str] = frozenset()

    async def load(self) -> Description:
        return Description(engine="parrot", model="grey")

    def opens(self, body: str, frame: Frame) -> bool:  # noqa: ARG002 - the interface's
        return body == "generation_request"

    async def handle(self, job: Job) -> None:
        async for _, frame in job.frames():
            word = frame.generation_request.instructions
            match word:
                case "fail":
                    raise EngineError("told to")
                case "crash":
                    raise ZeroDivisionError("canary")
                case "hang":
                    await asyncio.sleep(3600)
            job.reply(text_delta=pb.TextDelta(text=word))
            job.reply(generation_done=pb.GenerationDone(reason=pb.GenerationDone.STOP))
            return

    async def stop(self) -> None:
        pass


Parrots = tuple[FakeGateway, str]


@pytest.fixture
async def parrot() -> AsyncIterator[Parrots]:
    async with serving(TaskHandler(Parrot()), capacity=2) as running:
        yield running


def ask(parrot: Parrots, word: str, session_id: str = "s1", response_id: str = "r1", **header: int) -> None:
    gateway, service = parrot
    head = Header(session_id=session_id, response_id=response_id, **header)  # type: ignore[arg-type]
    gateway.send(service, head, generation_request=pb.GenerationRequest(instructions=word))


async def test_a_request_is_answered_with_its_own_ids(parrot: Parrots) -> None:
    ask(parrot, "hello", session_id="s7", response_id="r9", turn_id=3, generation=5)
    answer = await parrot[0].next("text_delta")
    assert answer.text_delta.text == "hello"
    assert (answer.header.session_id, answer.header.response_id) == ("s7", "r9")
    assert (answer.header.turn_id, answer.header.generation) == (3, 5)


async def test_an_engine_error_reaches_the_gateway_typed(parrot: Parrots) -> None:
    ask(parrot, "fail")
    error = (await parrot[0].next("error")).error
    assert (error.code, error.message, error.role, error.retryable) == (pb.Error.ENGINE_FAILED, "told to", pb.LLM, True)


async def test_an_unforeseen_error_ends_one_job_and_shows_no_content(parrot: Parrots) -> None:
    ask(parrot, "crash")
    error = (await parrot[0].next("error")).error
    assert "canary" not in error.message
    ask(parrot, "still here", response_id="r2")
    assert (await parrot[0].next("text_delta")).text_delta.text == "still here"


async def test_a_full_service_refuses_in_words_and_a_cancel_frees_the_place(parrot: Parrots) -> None:
    gateway, service = parrot
    ask(parrot, "hang", response_id="r1")
    ask(parrot, "hang", response_id="r2")
    ask(parrot, "hello", response_id="r3")
    refusal = (await gateway.next("refusal")).refusal
    assert refusal.at_capacity.role == pb.LLM
    assert refusal.at_capacity.retry_after_ms > 0
    gateway.send(service, Header(session_id="s1", response_id="r1"), cancel=pb.Cancel())
    ask(parrot, "hello", response_id="r3")
    assert (await gateway.next("text_delta")).header.response_id == "r3"


async def test_a_deadline_ends_the_job_with_an_error(parrot: Parrots) -> None:
    ask(parrot, "hang", deadline_ms=50)
    assert (await parrot[0].next("error")).error.code == pb.Error.DEADLINE_EXCEEDED


async def test_a_lease_that_nothing_renews_expires_and_a_renewed_one_does_not() -> None:
    async with serving(TaskHandler(Parrot()), lease_ttl_s=0.5) as parrot:
        gateway, service = parrot
        ask(parrot, "hang", session_id="kept")
        ask(parrot, "hang", session_id="left")
        for _ in range(10):
            gateway.send(service, Header(), lease_renewal=pb.LeaseRenewal(session_ids=["kept"]))
            await asyncio.sleep(0.1)
        expired = [frame.header.session_id for body, frame in gateway.received if body == "error"]
        assert expired == ["left"]


async def test_frames_of_an_older_generation_are_dropped(parrot: Parrots) -> None:
    gateway, service = parrot
    gateway.send(service, Header(session_id="s1", generation=2), cancel=pb.Cancel())
    ask(parrot, "stale", generation=1)
    ask(parrot, "fresh", response_id="r2", generation=2)
    assert (await gateway.next("text_delta")).text_delta.text == "fresh"


@pytest.mark.parametrize(
    ("data", "answered"),
    [
        pytest.param(b"", False, id="empty"),
        pytest.param(b"\xff" * 100, False, id="garbage"),
        pytest.param(Frame(cancel=pb.Cancel()).SerializeToString(), False, id="nobody to answer"),
        pytest.param(None, True, id="no body"),
    ],
)
async def test_a_bad_frame_is_survived_and_answered_where_possible(
    parrot: Parrots, data: bytes | None, *, answered: bool
) -> None:
    gateway, service = parrot
    if data is None:
        data = Frame(header=Header(session_id="s1", reply_to=gateway.address)).SerializeToString()
    gateway.send_raw(service, data)
    if answered:
        assert (await gateway.next("error")).error.code == pb.Error.BAD_FRAME
    ask(parrot, "still here")
    assert (await gateway.next("text_delta")).text_delta.text == "still here"


async def test_an_oversize_frame_is_answered(parrot: Parrots) -> None:
    gateway, service = parrot
    gateway.send(service, None, generation_request=pb.GenerationRequest(instructions="x" * 9_000_000))
    error = (await gateway.next("error")).error
    assert error.code == pb.Error.BAD_FRAME
    assert "at most" in error.message


async def test_a_body_that_the_service_does_not_take_is_answered(parrot: Parrots) -> None:
    gateway, service = parrot
    gateway.send(service, None, synthesis_grant=pb.SynthesisGrant(until_ms=1))
    assert (await gateway.next("error")).error.code == pb.Error.BAD_FRAME


async def test_a_draining_service_refuses_and_ends(parrot: Parrots) -> None:
    gateway, service = parrot
    ask(parrot, "hang")
    gateway.send(service, Header(), drain=pb.Drain())
    ask(parrot, "hello", response_id="r2")
    refusal = (await gateway.next("refusal")).refusal
    assert refusal.not_ready.state == pb.DRAINING
