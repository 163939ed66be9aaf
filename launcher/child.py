"""One process started by the launcher: it dies with the launcher, and its log becomes the launcher's."""

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

# SIGTERM asks a process to finish what it does, a second one to stop now; then there is no more asking. Ctrl-C has to
# be over in 3 s.
ASK_AGAIN_S: Final = 1.2
KILL_AFTER_S: Final = 2.0
# What a process wrote is read for so long after its end; something that it started may hold its output open.
LAST_WORDS_S: Final = 1.0
# A line of a log beyond this is cut.
LINE_BYTES: Final = 1 << 20
_PR_SET_PDEATHSIG: Final = 1

Write = Callable[[str], None]


class Child:
    """A running process. Made by `start`; `wait` for its end or `stop` it.

    Lines that it writes go to *write* as they come, those that begin with *complaint* aside: these are kept in
    `complaints`, for whoever tells why it ended.
    """

    def __init__(
        self,
        running: asyncio.subprocess.Process,
        output: tuple[asyncio.StreamReader, asyncio.ReadTransport],
        write: Write,
        complaint: str,
    ) -> None:
        self._running = running
        self._output, self._pipe = output
        self._write = write
        self._complaint = complaint
        self.complaints: list[str] = []
        self._reading = asyncio.ensure_future(self._read())

    @classmethod
    async def start(cls, command: list[str], write: Write, complaint: str) -> Self:
        """Run *command* in a session of its own: the terminal's Ctrl-C is for the launcher alone."""
        # A pipe of our own: asyncio takes a process for running as long as anybody, a worker perhaps, holds one of its.
        ours, theirs = os.pipe()
        output = asyncio.StreamReader(LINE_BYTES)
        pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(output), os.fdopen(ours, "rb", 0)
        )
        try:
            running = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=theirs,
                stderr=theirs,
                start_new_session=True,
                preexec_fn=_die_with(os.getpid()) if sys.platform == "linux" else None,
                env=os.environ | {"PYTHONPATH": _python_path(), "PYTHONUNBUFFERED": "1"},
            )
        finally:
            os.close(theirs)
        return cls(running, (output, pipe), write, complaint)

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._running.pid

    async def wait(self) -> int:
        """Return the exit status, negative for a signal, when the process has ended and all it wrote was read."""
        status = await self._running.wait()
        self.kill()  # workers that it left behind
        await asyncio.wait([self._reading], timeout=LAST_WORDS_S)
        self._reading.cancel()
        self._pipe.close()
        return status

    async def stop(self) -> None:
        """Have the process end: by asking, by asking again, by force. Idempotent. `wait` still has to be awaited."""
        for patience_s in (ASK_AGAIN_S, KILL_AFTER_S - ASK_AGAIN_S):
            if self._running.returncode is not None:
                return
            with suppress(ProcessLookupError):
                self._running.terminate()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._running.wait(), patience_s)
        if self._running.returncode is None:
            self.kill()

    def kill(self) -> None:
        """End the process and all that it started, now."""
        with suppress(ProcessLookupError, PermissionError):  # macOS says EPERM for a group of zombies
            os.killpg(self._running.pid, signal.SIGKILL)

    async def _read(self) -> None:
        while True:
            try:
                line = await self._output.readline()
            except ValueError:  # longer than LINE_BYTES; asyncio has dropped it
                self._write("(a line too long to show)")
                continue
            if not line:
                return
            text = line.decode(errors="replace").rstrip()
            if text.startswith(self._complaint):
                self.complaints.append(text.removeprefix(self._complaint))
            elif text:
                self._write(text)


def ending(status: int) -> str:
    """Return an exit status in words."""
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"


def _die_with(launcher: int) -> Callable[[], None]:
    """Return what a child does before anything else: it asks to be killed when the launcher dies, however it dies."""
    prctl = ctypes.CDLL(None).prctl

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != launcher:  # it died before it could be asked for
            os._exit(1)

    return ask


def _python_path() -> str:
    """Return a path on which the children find the same packages as we, wherever they are started."""
    ours = str(Path(__file__).resolve().parent.parent)
    theirs = os.environ.get("PYTHONPATH")
    return f"{ours}{os.pathsep}{theirs}" if theirs else ours
