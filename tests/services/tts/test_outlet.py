"""The audio of a response on its way out."""

import asyncio
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from bus.frames import Frame, Header
from bus.jobs import Job
from services.tts.outlet import Outlet
from tests.support.bus import PATIENCE_S
from tests.support.waiting import until

RATE = 8000
MS = 2 * RATE // 1000  # bytes


async def sent(
    pieces: list[tuple[str, int]], joined_ms: int = 100, granted_ms: tuple[int, ...] = (10_000,)
) -> list[tuple[str, int]]:
    """Return text and length in ms of the frames that leave when these clauses, each text and ms, wait in pieces.

    Every grant comes when the one before it is used up.
    """
    frames: list[Frame] = []

    def send(_address: str, frame: Frame, **_: Any) -> None:
        frames.append(frame)

    def has_left(ms: int) -> bool:
        return sum(len(frame.speech_out.pcm) for frame in frames) == ms * MS

    header = Header(session_id="s", response_id="r", reply_to="ipc://gateway")
    job = Job(("s", "r"), header, 0.0, send=send, ended=lambda _job, _error: None)
    outlet = Outlet(job, RATE, granted_ms[0], joined_ms)
    for text, ms in pieces:
        outlet.put(text, [bytes(40 * MS)] * (ms // 40))
    outlet.finish()
    delivering = asyncio.create_task(outlet.deliver())
    for used_up, until_ms in pairwise(granted_ms):
        await until(partial(has_left, used_up))
        outlet.grant(until_ms)
    assert await asyncio.wait_for(delivering, PATIENCE_S) == sum(ms for _, ms in pieces)
    at_ms = 0
    for frame in frames:
        assert frame.speech_out.at_ms == at_ms
        at_ms += len(frame.speech_out.pcm) // MS
    assert [list(frame.header.stamps) != [] for frame in frames] == [True] + [False] * (len(frames) - 1)
    return [(frame.speech_out.text, len(frame.speech_out.pcm) // MS) for frame in frames]


async def test_what_waits_leaves_together_up_to_a_length() -> None:
    assert await sent([("one", 200)]) == [("one", 80), ("", 80), ("", 40)]


async def test_a_clause_begins_a_frame_of_its_own() -> None:
    assert await sent([("one", 40), ("two", 80)]) == [("one", 40), ("two", 80)]


@pytest.mark.parametrize("joined_ms", [0, 40, 79])
async def test_nothing_is_joined_that_would_be_too_long(joined_ms: int) -> None:
    assert await sent([("one", 80)], joined_ms=joined_ms) == [("one", 40), ("", 40)]


async def test_a_grant_that_ends_within_a_frame_cuts_it_and_the_next_begins_with_the_rest() -> None:
    assert await sent([("one", 200)], granted_ms=(50, 10_000)) == [("one", 50), ("", 70), ("", 80)]


async def test_text_without_audio_goes_with_the_audio_after_it() -> None:
    assert await sent([("well, ", 0), ("one", 80)]) == [("well, one", 80)]
