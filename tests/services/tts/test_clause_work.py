"""A clause made at once, given out in pieces."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from bus.errors import EngineError
from services.tts.clause_work import Samples, spoken
from tests.support.bus import PATIENCE_S

RATE = 16_000


@pytest.fixture
def worker() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as one:
        yield one


def never() -> None:
    raise AssertionError("was given up")


def test_samples_come_as_pcm_in_pieces_of_40_ms(worker: ThreadPoolExecutor) -> None:
    samples = np.linspace(-2, 2, 1000, dtype=np.float32)
    pieces = [piece for piece in spoken(worker, lambda: samples, never, RATE) if piece]
    assert [len(piece) for piece in pieces] == [1280, 720]
    pcm = np.frombuffer(b"".join(pieces), "<i2")
    assert (pcm[0], pcm[-1]) == (-32767, 32767)  # what is too loud is cut, not wrapped around
    assert pcm[600] == int(samples[600] * 32767)


def test_no_samples_are_no_pieces(worker: ThreadPoolExecutor) -> None:
    assert b"".join(spoken(worker, lambda: np.zeros(0, np.float32), never, RATE)) == b""


def test_closing_gives_the_work_up_and_waits_for_its_end(worker: ThreadPoolExecutor) -> None:
    unwanted, ended = threading.Event(), threading.Event()

    def make() -> Samples:
        unwanted.wait(PATIENCE_S)
        ended.set()
        raise RuntimeError("given up")

    pieces = spoken(worker, make, unwanted.set, RATE)
    assert next(pieces) == b""
    pieces.close()
    assert ended.is_set()


def test_work_that_has_not_begun_never_begins(worker: ThreadPoolExecutor) -> None:
    free = threading.Event()
    first = worker.submit(free.wait, PATIENCE_S)
    begun: list[bool] = []

    def make() -> Samples:
        begun.append(True)
        return np.zeros(1, np.float32)

    pieces = spoken(worker, make, lambda: None, RATE)
    assert next(pieces) == b""
    pieces.close()
    free.set()
    assert first.result()
    worker.submit(int).result()
    assert not begun


def test_a_failure_is_raised_as_it_is(worker: ThreadPoolExecutor) -> None:
    def make() -> Samples:
        raise ValueError("of the model")

    with pytest.raises(ValueError, match="of the model"):
        list(spoken(worker, make, never, RATE))


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_are_no_samples_is_an_error(worker: ThreadPoolExecutor, wrong: float) -> None:
    with pytest.raises(EngineError, match="no numbers"):
        list(spoken(worker, lambda: np.array([0, wrong], np.float32), never, RATE))


def test_too_little_memory_is_an_error_of_the_clause(worker: ThreadPoolExecutor) -> None:
    def make() -> Samples:
        raise MemoryError

    with pytest.raises(EngineError, match=r"^out of memory: "):
        list(spoken(worker, make, never, RATE))
