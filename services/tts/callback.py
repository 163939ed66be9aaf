"""Turns a C library that calls back with audio into a generator that can be closed."""

import threading
from collections.abc import Callable, Generator
from queue import Queue
from typing import Final

Emit = Callable[[bytes], bool]
"""Takes pcm; tells whether the library must stop."""

# Pieces between the library and whoever reads them. When they are full the library waits in its callback.
PIECES: Final = 16


def pulled(run: Callable[[Emit], None]) -> Generator[bytes, None, None]:
    """Yield what *run* emits. It runs on a thread of its own, at most `PIECES` ahead of the reader.

    Closing the generator makes the next `emit` return True, and waits until *run* has returned. An exception of *run*
    is raised here, after what was emitted before it.
    """
    pieces: Queue[bytes | None] = Queue(PIECES)
    stopped = threading.Event()
    failures: list[BaseException] = []

    def emit(pcm: bytes) -> bool:
        if not stopped.is_set():
            pieces.put(pcm)
        return stopped.is_set()

    def work() -> None:
        try:
            run(emit)
        except BaseException as error:  # noqa: BLE001 - raised again by the reader
            failures.append(error)
        finally:
            pieces.put(None)

    thread = threading.Thread(target=work, name="synthesis", daemon=True)
    thread.start()
    piece: bytes | None = b""
    try:
        while (piece := pieces.get()) is not None:
            yield piece
    finally:
        stopped.set()
        while piece is not None:  # makes room: the library may be waiting in its callback
            piece = pieces.get()
        thread.join()
    if failures:
        raise failures[0]
