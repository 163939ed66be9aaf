"""A worker process as the pool sees it: messages to it and from it, its begin and its end."""

import asyncio
import os
from contextlib import suppress
from pathlib import Path
from typing import Final, cast

from bus.errors import EngineError
from services.asr.sphinx.wire import HEAD, Kind, pack, unpack_head

# A cancel is obeyed after one block, some 30 ms. A worker that takes so long hangs, and is killed.
CANCEL_PATIENCE_S: Final = 2.0
# A worker ends as soon as its input does, or after one block.
STOP_PATIENCE_S: Final = 1.0


class Worker:
    """One worker process that has loaded its model. Made by `start`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self._input = cast("asyncio.StreamWriter", process.stdin)
        self._output = cast("asyncio.StreamReader", process.stdout)
        self._kill_timer: asyncio.TimerHandle | None = None

    @classmethod
    async def start(cls, command: tuple[str, ...]) -> "Worker":
        """Start a process and wait until its model is loaded.

        Raises:
            EngineError: it ended instead.
        """
        # A session of its own: Ctrl-C in a terminal is for us, who then end it in order.
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": _import_path()},
            start_new_session=True,
        )
        worker = cls(process)
        try:
            await worker.receive()
        except EOFError:
            await worker.stop()
            raise EngineError(f"a worker ended while loading, status {process.returncode}") from None
        except asyncio.CancelledError:
            await worker.stop()
            raise
        return worker

    def send(self, kind: Kind, number: int, payload: bytes = b"") -> None:
        """Send one message; what the process has not read yet waits here, a turn's audio at most."""
        if not self._input.is_closing():
            self._input.write(pack(kind, number, payload))

    async def receive(self) -> tuple[Kind, int, bytes]:
        """Return the next message.

        Raises:
            EOFError: the process has ended.
        """
        try:
            kind, number, length = unpack_head(await self._output.readexactly(HEAD.size))
            return kind, number, await self._output.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            raise EOFError from None

    def cancel(self, number: int) -> None:
        """Make the process forget the utterance; kill it if it does not say within a while that it has."""
        if self._kill_timer is None:
            self.send(Kind.CANCEL, number)
            self._kill_timer = asyncio.get_running_loop().call_later(CANCEL_PATIENCE_S, self.kill)

    def obeyed(self) -> None:
        """Note that the process is free again."""
        if self._kill_timer is not None:
            self._kill_timer.cancel()
            self._kill_timer = None

    def kill(self) -> None:
        """End the process now."""
        with suppress(ProcessLookupError):
            self.process.kill()

    async def stop(self) -> None:
        """End the process in order, or by force if it does not listen; leave nothing of it behind."""
        self.obeyed()
        self._input.close()
        timer = asyncio.get_running_loop().call_later(STOP_PATIENCE_S, self.kill)
        try:
            with suppress(ConnectionError):
                await self._output.read()  # to its end, which closes the pipe on this side, too
            await self.process.wait()
        finally:
            timer.cancel()


def _import_path() -> str:
    # A worker finds this package where we found it, wherever it is started.
    root = str(Path(__file__).resolve().parents[3])
    return os.pathsep.join(path for path in (root, os.environ.get("PYTHONPATH", "")) if path)
