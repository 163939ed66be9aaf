"""The speech of a turn, put together by position."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.errors import InvalidRequestError, JobError, OverloadedError
from services.asr.assembly import AHEAD_SAMPLES, SAMPLE_RATE, TURN_SAMPLES, Assembly

TURN = b"".join(number.to_bytes(2, "little") for number in range(1000))


def piece(begin: int, end: int) -> bytes:
    return TURN[2 * begin : 2 * end]


def test_contiguous_frames_come_out_as_they_are() -> None:
    assembly = Assembly()
    assert assembly.add(piece(0, 10), 500, last=False) == piece(0, 10)
    assert assembly.add(piece(10, 20), 510, last=True) == piece(10, 20)
    assert assembly.complete
    assert not assembly.gap
    assert assembly.samples == 20


def test_what_overlaps_is_used_once() -> None:
    assembly = Assembly()
    heard = assembly.add(piece(0, 10), 0, last=False)
    heard += assembly.add(piece(5, 15), 5, last=False)
    heard += assembly.add(piece(0, 10), 0, last=False)
    heard += assembly.add(piece(0, 20), 0, last=True)
    assert heard == piece(0, 20)


def test_a_frame_that_came_early_waits_for_the_one_before() -> None:
    assembly = Assembly()
    assembly.add(piece(0, 10), 0, last=False)
    assert assembly.add(piece(20, 30), 20, last=True) == b""
    assert assembly.gap
    assert not assembly.complete
    assert assembly.add(piece(10, 20), 10, last=False) == piece(10, 30)
    assert assembly.complete
    assert not assembly.gap


def test_an_empty_last_frame_says_where_the_turn_ends() -> None:
    assembly = Assembly()
    assembly.add(piece(0, 10), 0, last=False)
    assembly.add(b"", 20, last=True)
    assert assembly.gap
    assert assembly.add(piece(10, 20), 10, last=False) == piece(10, 20)
    assert assembly.complete


def test_a_turn_may_be_empty() -> None:
    assembly = Assembly()
    assert assembly.add(b"", 7, last=True) == b""
    assert assembly.complete
    assert assembly.samples == 0


def test_half_a_sample_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="odd"):
        Assembly().add(b"\0", 0, last=False)


def test_too_much_ahead_of_a_gap_is_an_error_that_may_be_retried() -> None:
    assembly = Assembly()
    assembly.add(b"\0\0", 0, last=False)
    assembly.add(bytes(2 * AHEAD_SAMPLES), 2, last=False)
    with pytest.raises(OverloadedError) as raised:
        assembly.add(b"\0\0", AHEAD_SAMPLES + 2, last=False)
    assert raised.value.retryable


def test_an_endless_turn_is_refused() -> None:
    assembly = Assembly()
    minute = 60 * SAMPLE_RATE
    for at_sample in range(0, TURN_SAMPLES, minute):
        assembly.add(bytes(2 * minute), at_sample, last=False)
    with pytest.raises(InvalidRequestError, match="300 s"):
        assembly.add(b"\0\0", TURN_SAMPLES, last=False)


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 30)), max_size=30), st.randoms())
def test_any_cover_of_the_turn_in_any_order_gives_each_sample_once(
    extra: list[tuple[int, int]], rng: random.Random
) -> None:
    cover = [(begin, 10) for begin in range(10, 100, 10)] + extra
    rng.shuffle(cover)
    assembly = Assembly()
    heard = assembly.add(piece(0, 10), 0, last=False)
    for begin, count in cover:
        end = min(begin + count, 100)
        heard += assembly.add(piece(begin, end), begin, last=end == 100)
    assert heard == piece(0, 100)
    assert assembly.complete


@given(st.lists(st.tuples(st.integers(0, 2**40), st.binary(max_size=40), st.booleans()), max_size=20))
def test_nothing_but_job_errors_comes_of_bad_positions(frames: list[tuple[int, bytes, bool]]) -> None:
    assembly = Assembly()
    for at_sample, pcm, last in frames:
        try:
            heard = assembly.add(pcm, at_sample, last=last)
        except JobError:
            return
        assert len(heard) % 2 == 0
