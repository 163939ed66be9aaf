"""Callbacks turned into a generator."""

import threading

import pytest

from services.tts.callback import PIECES, Emit, pulled


def test_what_is_emitted_is_yielded_in_order() -> None:
    def run(emit: Emit) -> None:
        for number in range(100):
            assert not emit(bytes([number]))

    assert b"".join(pulled(run)) == bytes(range(100))


def test_closing_stops_the_run_and_waits_for_it() -> None:
    emitted: list[int] = []

    def run(emit: Emit) -> None:
        while not emit(b"x"):
            emitted.append(1)

    pieces = pulled(run)
    next(pieces)
    pieces.close()
    assert len(emitted) <= PIECES + 3
    assert not any(thread.name == "synthesis" and thread.is_alive() for thread in threading.enumerate())


def test_a_failure_comes_after_what_was_emitted_before() -> None:
    def run(emit: Emit) -> None:
        emit(b"x")
        raise ZeroDivisionError

    pieces = pulled(run)
    assert next(pieces) == b"x"
    with pytest.raises(ZeroDivisionError):
        next(pieces)


def test_a_generator_that_was_never_read_starts_nothing() -> None:
    started = threading.Event()
    pulled(lambda _emit: started.set()).close()
    assert not started.is_set()
