"""The loop that every service shares, with handlers that fail and frames that come late, early or twice."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import structlog

from bus import serve as serve_module
from bus.errors import AtCapacityError, InvalidRequestError
from bus.frames import Frame, Header
from bus.jobs import Job, Scope
from bus.metrics import FRAMES_DROPPED
from bus.serve import Description
from proto.v1 import speech_pb2 as pb
from tests.support.bus import FakeGateway, serving


class Fragile:
    """A synthesis service that says which frames it got, and fails where it is told to."""

    role = pb.TTS
    scope = Scope.RESPONSE
    accepts = frozenset({"synthesis_request", "synthesis_grant", "text_delta"})
    early = frozenset({"text_delta"})

    async def load(self) -> Description:
        return Description(engine="fragile")

    def opens(self, body: str, _frame: Frame) -> bool:
        return body == "synthesis_request"

    def open(self, job: Job) -> None:
        match job.header.traceparent:
            case "no place":
                raise AtCapacityError(123)
            case "impossible":
                raise InvalidRequestError("no such voice")
            case "crash":
                raise ZeroDivisionError("canary")
            case "ends at once":
                job.end()

    def receive(self, job: Job, body: str, frame: Frame) -> None:
        if frame.text_delta.text == "crash":
            raise ZeroDivisionError("canary")
        text = frame.text_delta.text if body == "text_delta" else "opened"
        job.reply(progress=pb.Progress(what=text))
        if text == "the end":
            job.end()

    def close(self, job: Job) -> None:
        if job.header.traceparent == "crash in close":
            raise ZeroDivisionError("canary")

    async def stop(self) -> None:
        raise ZeroDivisionError("canary")


Running = tuple[FakeGateway, str]


@pytest.fixture
async def fragile() -> AsyncIterator[Running]:
    async with serving(Fragile(), capacity=3) as running:
        yield running


def header(response_id: str = "r1", generation: int = 0, turn_id: int = 0, how: str = "") -> Header:
    return Header(session_id="s1", response_id=response_id, generation=generation, turn_id=turn_id, traceparent=how)


def ask(running: Running, head: Header) -> None:
    running[0].send(running[1], head, synthesis_request=pb.SynthesisRequest())


def say(running: Running, head: Header, *texts: str) -> None:
    for text in texts:
        running[0].send(running[1], head, text_delta=pb.TextDelta(text=text))


def grant(running: Running, head: Header) -> None:
    running[0].send(running[1], head, synthesis_grant=pb.SynthesisGrant())


def cancel(running: Running, head: Header) -> None:
    running[0].send(running[1], head, cancel=pb.Cancel())


async def said(running: Running, count: int) -> list[str]:
    return [(await running[0].next("progress")).progress.what for _ in range(count)]


@pytest.mark.parametrize("how", ["no place", "impossible", "crash", "ends at once"])
async def test_a_job_that_cannot_be_opened_is_answered_and_keeps_no_place(fragile: Running, how: str) -> None:
    gateway = fragile[0]
    for number in range(5):
        ask(fragile, header(f"x{number}", how=how))
    ask(fragile, header("r9"))
    assert await said(fragile, 1) == ["opened"]
    answers = [frame for body, frame in gateway.received if body in {"refusal", "error"}]
    match how:
        case "no place":
            assert [a.refusal.at_capacity.retry_after_ms for a in answers] == [123] * 5
        case "impossible":
            assert [(a.error.code, a.error.retryable) for a in answers] == [(pb.Error.INVALID_REQUEST, False)] * 5
        case "crash":
            assert [a.error.message for a in answers] == ["internal error: ZeroDivisionError"] * 5
        case _:
            assert answers == []


async def test_a_handler_that_crashes_in_close_frees_the_place_all_the_same(fragile: Running) -> None:
    for number in range(5):
        ask(fragile, header(f"x{number}", how="crash in close"))
        cancel(fragile, header(f"x{number}"))
    ask(fragile, header("r9"))
    assert await said(fragile, 6) == ["opened"] * 6
    assert "refusal" not in fragile[0].bodies()


async def test_frames_that_overtake_the_opening_one_wait_for_it(fragile: Running) -> None:
    say(fragile, header(), "a", "b")
    ask(fragile, header())
    say(fragile, header(), "c")
    assert await said(fragile, 4) == ["opened", "a", "b", "c"]


async def test_early_frames_that_nobody_opens_are_dropped_and_so_are_those_that_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(serve_module, "EARLY_FRAMES", 3)
    monkeypatch.setattr(serve_module, "EARLY_S", 0.0)
    async with serving(Fragile()) as fragile:
        say(fragile, header("ghost"), "a", "b", "c", "too many")
        error = await fragile[0].next("error")
        assert error.error.code == pb.Error.UNKNOWN_SESSION
        await asyncio.sleep(3 * serve_module.SWEEP_S)
        ask(fragile, header("ghost"))
        say(fragile, header("ghost"), "late")
        assert await said(fragile, 2) == ["opened", "late"]


async def test_early_frames_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_module, "EARLY_BYTES", 1000)
    async with serving(Fragile()) as fragile:
        say(fragile, header("ghost"), "x" * 2000)
        assert (await fragile[0].next("error")).error.code == pb.Error.UNKNOWN_SESSION


async def test_a_cancel_takes_the_early_frames_along(fragile: Running) -> None:
    say(fragile, header(generation=1), "stale")
    cancel(fragile, header(generation=2))
    ask(fragile, header(generation=2))
    say(fragile, header(generation=2), "fresh")
    assert await said(fragile, 2) == ["opened", "fresh"]


@pytest.mark.parametrize(
    "named",
    [
        pytest.param({"response_id": "r1", "turn_id": 1}, id="the response"),
        pytest.param({"response_id": "", "turn_id": 1}, id="the turn"),
    ],
)
async def test_a_cancel_makes_stale_what_it_names_and_nothing_else(fragile: Running, named: dict[str, object]) -> None:
    """A response beside the conversation goes on when another is interrupted, though its generation is older now."""
    ask(fragile, header("r1", generation=1, turn_id=1))
    ask(fragile, header("aside", generation=1, turn_id=2))
    cancel(fragile, Header(session_id="s1", generation=2, **named))  # type: ignore[arg-type]
    say(fragile, header("r1", generation=1, turn_id=1), "stale")
    say(fragile, header("aside", generation=1, turn_id=2), "goes on")
    ask(fragile, header("r3", generation=1, turn_id=3))
    assert await said(fragile, 4) == ["opened", "opened", "goes on", "opened"]


async def test_a_cancel_that_names_nothing_ends_all_work_of_its_session_only(fragile: Running) -> None:
    ask(fragile, header("r1", generation=1))
    fragile[0].send(
        fragile[1], Header(session_id="s2", response_id="r1", generation=1), synthesis_request=pb.SynthesisRequest()
    )
    cancel(fragile, header("", generation=2))
    say(fragile, header("r1", generation=1), "stale")
    fragile[0].send(
        fragile[1], Header(session_id="s2", response_id="r1", generation=1), text_delta=pb.TextDelta(text="untouched")
    )
    assert await said(fragile, 3) == ["opened", "opened", "untouched"]


async def test_an_older_frame_does_not_reach_a_younger_job(fragile: Running) -> None:
    ask(fragile, header(generation=3))
    say(fragile, header(generation=2), "stale")
    say(fragile, header(generation=3), "fresh")
    assert await said(fragile, 2) == ["opened", "fresh"]


async def test_work_that_is_asked_again_takes_the_place_of_the_first(fragile: Running) -> None:
    ask(fragile, header(generation=1))
    say(fragile, header(generation=1), "first")
    ask(fragile, header(generation=2))
    say(fragile, header(generation=1), "stale")
    say(fragile, header(generation=2), "again")
    assert await said(fragile, 4) == ["opened", "first", "opened", "again"]
    ask(fragile, header("r2"))
    ask(fragile, header("r3"))
    assert await said(fragile, 2) == ["opened", "opened"]  # of three places, one had come back


async def test_early_frames_of_work_asked_again_wait_for_its_opening_frame(fragile: Running) -> None:
    ask(fragile, header(generation=1))
    say(fragile, header(generation=2), "again")  # its request and the cancel are on their way from another process
    cancel(fragile, header(generation=2))
    ask(fragile, header(generation=2))
    assert await said(fragile, 3) == ["opened", "opened", "again"]


async def test_a_cancel_that_was_overtaken_does_not_end_what_came_after_it(fragile: Running) -> None:
    ask(fragile, header(generation=2))
    cancel(fragile, header(generation=2))
    say(fragile, header(generation=2), "goes on")
    assert await said(fragile, 2) == ["opened", "goes on"]


async def test_what_was_on_its_way_to_work_that_is_done_is_counted_and_nothing_else(fragile: Running) -> None:
    before = FRAMES_DROPPED.labels("late")._value.get()
    with structlog.testing.capture_logs() as logs:
        ask(fragile, header())
        say(fragile, header(), "the end")
        grant(fragile, header())
        grant(fragile, header(generation=1))  # of the session, which goes on counting beside this response
        ask(fragile, header())
        grant(fragile, header())  # work of this name is here again
        assert await said(fragile, 4) == ["opened", "the end", "opened", "opened"]
    assert FRAMES_DROPPED.labels("late")._value.get() == before + 2
    assert fragile[0].bodies() == ["progress"] * 4
    assert [line for line in logs if line["log_level"] != "info"] == []


async def test_frames_for_work_that_never_was_or_did_not_end_well_are_answered(fragile: Running) -> None:
    ask(fragile, header("r1"))
    say(fragile, header("r1"), "the end")
    ask(fragile, header("r1"))
    say(fragile, header("r1"), "crash")
    grant(fragile, header("r1"))
    grant(fragile, header("r2"))
    codes = [(await fragile[0].next("error")).error.code for _ in range(3)]
    assert codes == [pb.Error.ENGINE_FAILED, pb.Error.UNKNOWN_SESSION, pb.Error.UNKNOWN_SESSION]


async def test_the_work_that_was_done_first_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_module, "COMPLETED_KEPT", 1)
    async with serving(Fragile()) as fragile:
        for name in ("r1", "r2"):
            ask(fragile, header(name))
            say(fragile, header(name), "the end")
        grant(fragile, header("r2"))
        grant(fragile, header("r1"))
        error = await fragile[0].next("error")
        assert (error.error.code, error.header.response_id) == (pb.Error.UNKNOWN_SESSION, "r1")


async def test_duplicates_of_closing_and_cancelling_change_nothing(fragile: Running) -> None:
    ask(fragile, header())
    for _ in range(3):
        cancel(fragile, header(generation=1))
        fragile[0].send(fragile[1], None, session_close=pb.SessionClose())
    ask(fragile, header(generation=1))
    assert await said(fragile, 2) == ["opened", "opened"]
    assert fragile[0].bodies() == ["progress", "progress"]


async def test_an_error_is_never_answered_with_an_error(fragile: Running) -> None:
    gateway, service = fragile
    for head in (header(), Header(session_id="s1", reply_to=gateway.address)):
        gateway.send(service, head, error=pb.Error(code=pb.Error.BAD_FRAME))
    ask(fragile, header())
    await said(fragile, 1)
    assert gateway.bodies() == ["progress"]


async def test_why_a_gateway_does_not_use_the_service_is_logged_in_one_line(fragile: Running) -> None:
    gateway, address = fragile
    with structlog.testing.capture_logs() as logs:
        error = pb.Error(code=pb.Error.INVALID_REQUEST, message="speaks version 2" + "x" * 5000)
        gateway._node.send(address, Frame(error=error))
        gateway.send(address, Header(session_id="s1", response_id="r1"), synthesis_request=pb.SynthesisRequest())
        await gateway.next("progress")
    (line,) = [line for line in logs if line.get("reason") == "peer_error"]
    assert line["why"].startswith("speaks version 2")
    assert len(line["why"]) == serve_module.ERROR_CHARACTERS


async def test_a_flood_of_garbage_leaves_the_others_their_service(fragile: Running) -> None:
    gateway, service = fragile
    ask(fragile, header())
    for number in range(2000):
        gateway.send_raw(service, bytes([255, number % 256]) * 50)
    say(fragile, header(), "still here")
    assert await said(fragile, 2) == ["opened", "still here"]
