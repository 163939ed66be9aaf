"""A worker process: `python -m services.asr.sphinx.worker`, spoken to through its standard input and output.

It looks at its input between two blocks of audio, so that a cancel stops it within one of them, and ends when its input
does: it never outlives the process that started it.
"""

import os
import select
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from services.asr.sphinx.recogniser import Recogniser
from services.asr.sphinx.wire import HEAD, Kind, pack, pack_final, unpack_head

READ_BYTES: Final = 1 << 16


class Pipe:
    """Messages in from one descriptor and out to another. Holds what has been read: at most one turn's audio."""

    def __init__(self, source: int, sink: int) -> None:
        self._source = source
        self._sink = sink
        self._read = bytearray()

    def receive(self, *, wait: bool) -> Iterator[tuple[Kind, int, bytes]]:
        """Yield the messages that are there; *wait* for some if there are none.

        Raises:
            EOFError: the other side is gone.
        """
        while select.select([self._source], [], [], None if wait else 0)[0]:
            piece = os.read(self._source, READ_BYTES)
            if not piece:
                raise EOFError
            self._read += piece
            wait = False
        while len(self._read) >= HEAD.size:
            kind, number, length = unpack_head(bytes(self._read[: HEAD.size]))
            if len(self._read) < HEAD.size + length:
                return
            payload = bytes(self._read[HEAD.size : HEAD.size + length])
            del self._read[: HEAD.size + length]
            yield kind, number, payload

    def send(self, kind: Kind, number: int, payload: bytes = b"") -> None:
        """Send one message."""
        message = pack(kind, number, payload)
        while message:
            message = message[os.write(self._sink, message) :]


class Worker:
    """Does what the messages say, one utterance at a time."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._recogniser = Recogniser()
        self._number = 0
        self._ending = False
        self._busy_s = 0.0

    def run(self) -> None:
        """Work until the input ends.

        Raises:
            EOFError: it has ended.
        """
        self._pipe.send(Kind.READY, 0)
        working = False
        while True:
            for kind, number, payload in self._pipe.receive(wait=not working):
                self._obey(kind, number, payload)
            began = time.process_time()
            working = self._recogniser.step()
            if not working and self._ending:
                self._finish(began)
            self._busy_s += time.process_time() - began

    def _obey(self, kind: Kind, number: int, payload: bytes) -> None:
        match kind:
            case Kind.BEGIN:
                self._recogniser.begin()
                self._number, self._ending, self._busy_s = number, False, 0.0
            case Kind.AUDIO:
                self._recogniser.accept(payload)
            case Kind.ASK:
                self._pipe.send(Kind.PARTIAL, number, self._recogniser.partial().encode())
            case Kind.FINISH:
                self._recogniser.end()
                self._ending = True
            case Kind.CANCEL:
                self._recogniser.begin()
                self._ending = False
                self._pipe.send(Kind.FREE, number)
            case _:
                raise ValueError(f"a worker takes no {kind.name}")

    def _finish(self, began: float) -> None:
        self._ending = False
        found = self._recogniser.result()
        busy_s = self._busy_s + time.process_time() - began
        self._pipe.send(Kind.FINAL, self._number, pack_final(found.text, found.confidence, busy_s))


def main() -> None:
    """Be the process."""
    # Whatever a library prints goes to standard error, not between the messages.
    answers = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with suppress(EOFError, BrokenPipeError):
        Worker(Pipe(sys.stdin.fileno(), answers)).run()


if __name__ == "__main__":
    main()
