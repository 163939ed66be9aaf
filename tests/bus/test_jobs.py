"""One lease: its frames in order, within a bound, and nothing after its end."""

import asyncio
from typing import Any

import pytest

from bus import jobs
from bus.errors import OverloadedError
from bus.frames import Frame, Header
from bus.jobs import Job, Scope, key_of
from proto.v1 import speech_pb2 as pb


class Ends:
    """Keeps what a job sends and how it ends."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Frame]] = []
        self.ended: list[Exception | None] = []

    def send(self, address: str, frame: Frame) -> None:
        self.sent.append((address, frame))

    def end(self, _job: Job, error: Exception | None) -> None:
        self.ended.append(error)


def job(ends: Ends, **header: Any) -> Job:
    head = Header(session_id="s1", **header)
    return Job(("s1", ""), head, 100.0, send=ends.send, ended=ends.end)


def delta(text: str) -> Frame:
    return Frame(header=Header(session_id="s1"), text_delta=pb.TextDelta(text=text))


@pytest.mark.parametrize(
    ("scope", "key"), [(Scope.SESSION, ("s1", "")), (Scope.TURN, ("s1", 2)), (Scope.RESPONSE, ("s1", "r3"))]
)
def test_each_scope_has_its_ids(scope: Scope, key: jobs.JobKey) -> None:
    assert key_of(scope, Header(session_id="s1", turn_id=2, response_id="r3")) == key


async def test_frames_come_in_order_also_those_put_while_one_waits() -> None:
    made = job(Ends())
    texts: list[str] = []

    async def read() -> None:
        async for _, frame in made.frames():
            texts.append(frame.text_delta.text)
            if len(texts) == 4:
                return

    made.put("text_delta", delta("a"), 1.0)
    made.put("text_delta", delta("b"), 2.0)
    reading = asyncio.create_task(read())
    await asyncio.sleep(0)
    assert made.waiting_since() is None
    made.put("text_delta", delta("c"), 3.0)
    made.put("text_delta", delta("d"), 4.0)
    assert made.waiting_since() == 3.0
    await reading
    assert texts == ["a", "b", "c", "d"]


async def test_a_reader_may_leave_and_come_back() -> None:
    made = job(Ends())
    for text in "abc":
        made.put("text_delta", delta(text), 1.0)
    async for _, frame in made.frames():
        assert frame.text_delta.text == "a"
        break
    async for _, frame in made.frames():
        assert frame.text_delta.text == "b"
        break


def test_a_full_queue_is_overloaded_and_has_room_again_when_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "QUEUE_BYTES", 5 * delta("x" * 100).ByteSize())
    made = job(Ends())
    for _ in range(5):
        made.put("text_delta", delta("x" * 100), 1.0)
    with pytest.raises(OverloadedError, match="waiting for the engine"):
        made.put("text_delta", delta("x" * 100), 1.0)

    async def one() -> None:
        async for _ in made.frames():
            return

    asyncio.run(one())
    made.put("text_delta", delta("x" * 100), 1.0)


def test_answers_go_to_the_gateway_and_on_to_the_next_service() -> None:
    ends = Ends()
    made = job(ends, reply_to="ipc://gateway", next="ipc://tts", response_id="r1")
    made.reply(text_delta=pb.TextDelta(text="hi"))
    made.forward(text_delta=pb.TextDelta(text="hi"))
    (to_gateway, first), (to_next, second) = ends.sent
    assert (to_gateway, first.header.reply_to) == ("ipc://gateway", "")
    assert (to_next, second.header.reply_to) == ("ipc://tts", "ipc://gateway")
    assert first.header.response_id == second.header.response_id == "r1"


def test_nothing_is_forwarded_where_there_is_no_next() -> None:
    ends = Ends()
    job(ends, reply_to="ipc://gateway").forward(text_delta=pb.TextDelta())
    assert ends.sent == []


def test_nothing_is_sent_after_the_end() -> None:
    ends = Ends()
    made = job(ends, reply_to="ipc://gateway", next="ipc://tts")
    made.closed = True
    made.reply(text_delta=pb.TextDelta())
    made.forward(text_delta=pb.TextDelta())
    made.send("ipc://gateway", delta("x"))
    assert ends.sent == []


def test_a_deadline_is_counted_from_the_arrival() -> None:
    assert job(Ends()).deadline_at is None
    assert job(Ends(), deadline_ms=1500).deadline_at == pytest.approx(101.5)
