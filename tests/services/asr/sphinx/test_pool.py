"""Turns sharing workers, with workers that only pretend to recognise: they tell how many bytes they heard."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bus.errors import ConfigurationError, EngineError
from services.asr.sphinx import remote
from services.asr.sphinx.pool import Pool
from tests.support.waiting import until

# Speaks the workers' protocol; hangs for ever when it hears "hang", dies when it hears "die".
PRETENDER = """
import sys, time
from services.asr.sphinx.wire import HEAD, Kind, pack, pack_final, unpack_head
def say(kind, number, payload=b""):
    sys.stdout.buffer.write(pack(kind, number, payload)); sys.stdout.buffer.flush()
say(Kind.READY, 0)
heard = b""
while head := sys.stdin.buffer.read(HEAD.size):
    kind, number, length = unpack_head(head)
    payload = sys.stdin.buffer.read(length)
    if kind is Kind.BEGIN: heard = b""
    if kind is Kind.AUDIO: heard += payload
    if payload == b"hang": time.sleep(3600)
    if payload == b"die": sys.exit(3)
    if kind is Kind.ASK: say(Kind.PARTIAL, number, str(len(heard)).encode())
    if kind is Kind.FINISH: say(Kind.FINAL, number, pack_final(heard.decode(), 0.5, 0.1))
    if kind is Kind.CANCEL: say(Kind.FREE, number)
"""


def pretenders(size: int) -> Pool:
    return Pool(size, (sys.executable, "-c", PRETENDER))


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    pool = pretenders(1)
    await pool.start()
    yield pool
    await pool.stop()


async def test_a_turn_is_recognised_and_its_worker_free_again(pool: Pool) -> None:
    turn = pool.join()
    assert pool.free == 0
    await turn.accept(b"how ")
    assert await turn.partial() == "4"
    await turn.accept(b"old")
    assert (await turn.finish()).text == "how old"
    assert pool.free == 1


async def test_turns_beyond_the_workers_wait_in_order_with_their_audio(pool: Pool) -> None:
    turns = [pool.join() for _ in range(4)]
    for piece in (b"a", b"b"):
        for number, turn in enumerate(turns):
            await turn.accept(piece + str(number).encode())
    assert await turns[1].partial() == ""
    done = []
    finals = [asyncio.create_task(turn.finish()) for turn in turns[1:]]
    for number, final in enumerate(finals):
        final.add_done_callback(lambda _, number=number: done.append(number))  # type: ignore[misc]
    assert (await turns[0].finish()).text == "a0b0"
    assert [(await final).text for final in finals] == ["a1b1", "a2b2", "a3b3"]
    assert done == [0, 1, 2]


async def test_a_cancel_frees_the_worker_or_the_place_in_the_queue(pool: Pool) -> None:
    speaking, waiting, last = pool.join(), pool.join(), pool.join()
    waiting.cancel()
    waiting.cancel()
    await last.accept(b"last")
    final = asyncio.create_task(last.finish())
    speaking.cancel()
    assert (await final).text == "last"
    with pytest.raises(EngineError, match="over"):
        await speaking.accept(b"more")


async def test_a_turn_whose_worker_dies_fails_and_the_next_one_has_a_new_worker(pool: Pool) -> None:
    turn = pool.join()
    await turn.accept(b"die")
    with pytest.raises(EngineError, match="died"):
        await turn.finish()
    turn.cancel()
    after = pool.join()
    await after.accept(b"next")
    assert (await after.finish()).text == "next"


async def test_a_killed_worker_is_replaced_also_when_it_was_free(pool: Pool) -> None:
    (killed,) = pool.workers
    killed.kill()
    await until(lambda: pool.workers not in ([killed], []))
    turn = pool.join()
    assert (await turn.finish()).text == ""


async def test_a_worker_that_does_not_obey_a_cancel_is_killed(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "CANCEL_PATIENCE_S", 0.1)
    (hung,) = pool.workers
    turn = pool.join()
    await turn.accept(b"hang")
    turn.cancel()
    await until(lambda: pool.free == 1)
    assert pool.workers != [hung]


async def test_stopping_ends_workers_and_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "STOP_PATIENCE_S", 0.1)
    pool = pretenders(2)
    await pool.start()
    workers = pool.workers
    hung, waiting = [pool.join() for _ in range(3)][1:]
    await hung.accept(b"hang")
    final = asyncio.create_task(waiting.finish())
    await asyncio.sleep(0)
    await pool.stop()
    await pool.stop()
    with pytest.raises(EngineError, match="stopped"):
        await final
    with pytest.raises(EngineError, match="stopped"):
        await pool.join().accept(b"")
    assert all(worker.process.returncode is not None for worker in workers)


async def test_workers_that_cannot_start_are_told_with_the_way_to_see_why() -> None:
    with pytest.raises(ConfigurationError, match="status 3; to see why, run"):
        await Pool(2, (sys.executable, "-c", "raise SystemExit(3)")).start()


async def test_a_worker_ends_with_the_one_who_started_it(tmp_path: Path) -> None:
    left = tmp_path / "left"
    worker = f"""
import os
from services.asr.sphinx.worker import Pipe
try:
    for _ in Pipe(0, 1).receive(wait=True): pass
except EOFError:
    open({str(left)!r}, "w").close()
"""
    parent = f"""
import os, subprocess, sys
subprocess.Popen([sys.executable, "-c", {worker!r}], stdin=subprocess.PIPE, start_new_session=True)
os.kill(os.getpid(), 9)
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", parent)
    await process.wait()
    await until(left.exists)
