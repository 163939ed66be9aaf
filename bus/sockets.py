"""ZeroMQ sockets on an asyncio loop: one inbox to read, one outbox per peer. Only this module imports zmq.

`zmq.asyncio` costs a future per message. Here the socket's file descriptor is registered with the loop and drained in
bounded batches. The descriptor is edge-triggered: it becomes readable when the socket's state changes, not while
there is something to read, so a reader drains until ZeroMQ says `EAGAIN` and a writer looks at `ZMQ_EVENTS` whenever
a send was refused.
"""

import asyncio
import stat
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

import zmq

from bus.errors import ConfigurationError
from bus.frames import MAX_FRAME_BYTES

# Messages that one connection may hold at each end before the sender's own queue fills. 256 frames of 32 ms are 8 s of
# one session, or 40 ms of two hundred: small enough that a dead peer holds little, large enough for a burst.
HIGH_WATER_MARK: Final = 256
# The kernel doubles this. Without a limit it alone would swallow a minute of audio.
KERNEL_BUFFER_BYTES: Final = 64 * 1024
# A message beyond MAX_FRAME_BYTES is counted and answered; beyond this ZeroMQ cuts the sender's connection.
HARD_LIMIT_BYTES: Final = 4 * MAX_FRAME_BYTES
# Messages taken before the loop gets to run something else; about half a millisecond of work.
BATCH: Final = 256

Receive = Callable[[list[bytes]], None]


class Context:
    """The ZeroMQ context of a process. Close it after every socket made from it."""

    def __init__(self) -> None:
        self._zmq = zmq.Context(io_threads=1)

    def inbox(self, address: str, receive: Receive) -> "Inbox":
        """Bind a PULL at *address* and give batches of messages to *receive*. Call from the loop that is to read."""
        return Inbox(self._socket(zmq.PULL), address, receive)

    def outbox(self, address: str) -> "Outbox":
        """Connect a PUSH to *address*. Call from the loop that is to send."""
        return Outbox(self._socket(zmq.PUSH), address)

    def close(self) -> None:
        """Close what is left and drop what was not sent."""
        self._zmq.destroy(linger=0)

    def _socket(self, kind: int) -> zmq.Socket[bytes]:
        socket = self._zmq.socket(kind)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.SNDHWM, HIGH_WATER_MARK)
        socket.setsockopt(zmq.RCVHWM, HIGH_WATER_MARK)
        socket.setsockopt(zmq.SNDBUF, KERNEL_BUFFER_BYTES)
        socket.setsockopt(zmq.RCVBUF, KERNEL_BUFFER_BYTES)
        socket.setsockopt(zmq.MAXMSGSIZE, HARD_LIMIT_BYTES)
        socket.setsockopt(zmq.RECONNECT_IVL, 50)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
        return socket


class Inbox:
    """The one PULL that a process binds."""

    def __init__(self, socket: zmq.Socket[bytes], address: str, receive: Receive) -> None:
        self._socket = socket
        self._receive = receive
        self._ipc_path = ipc_path(address)
        self.address = bind(socket, address)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(socket.FD, self._drain)
        self._loop.call_soon(self._drain)  # what came before the descriptor was watched

    def close(self) -> None:
        """Stop reading. Idempotent."""
        if self._socket.closed:
            return
        self._loop.remove_reader(self._socket.FD)
        self._socket.close()
        if self._ipc_path is not None:
            self._ipc_path.unlink(missing_ok=True)

    def _drain(self) -> None:
        if self._socket.closed:
            return
        batch: list[bytes] = []
        recv = self._socket.recv
        try:
            while len(batch) < BATCH:
                batch.append(recv(zmq.NOBLOCK))
        except zmq.Again:
            pass  # libzmq has looked at its mailbox before it says so: the next message will signal again
        else:
            self._loop.call_soon(self._drain)  # a full batch: more may be there, and nothing will signal it
        if batch:
            self._receive(batch)


class Outbox:
    """A PUSH to one peer's inbox, with a queue for what it will not take at once.

    The queue holds media up to `MEDIA_BYTES` and control up to `CONTROL_FRAMES`, control going first. Beyond that the
    message is dropped and counted: the peer has not read for seconds and its leases are about to be given up.
    """

    MEDIA_BYTES: Final = 8 * 1024 * 1024
    CONTROL_FRAMES: Final = 10_000

    def __init__(self, socket: zmq.Socket[bytes], address: str) -> None:
        self._socket = socket
        self._loop = asyncio.get_running_loop()
        self._media: deque[bytes] = deque()
        self._media_bytes = 0
        self._control: deque[bytes] = deque()
        self.address = address
        self.dropped = 0
        try:
            socket.connect(address)
        except zmq.ZMQError as error:
            socket.close()
            raise ConfigurationError(f"cannot connect to {address!r}: {error}") from error
        self._loop.add_reader(socket.FD, self._writable)

    @property
    def waiting(self) -> int:
        """Messages that the peer has not taken yet (those inside ZeroMQ aside)."""
        return len(self._control) + len(self._media)

    def send(self, data: bytes, *, media: bool = False) -> None:
        """Send *data*, or queue it if the peer is not reading. Never blocks."""
        if self._socket.closed:
            self.dropped += 1
            return
        if not (self._control or self._media):
            try:
                self._socket.send(data, zmq.NOBLOCK)
            except zmq.Again:
                pass
            else:
                return
        self._queue(data, media=media)
        self._writable()

    def close(self) -> None:
        """Drop what was not sent. Idempotent."""
        if not self._socket.closed:
            self._loop.remove_reader(self._socket.FD)
            self._socket.close()

    def _queue(self, data: bytes, *, media: bool) -> None:
        if media:
            if self._media_bytes + len(data) > self.MEDIA_BYTES:
                self.dropped += 1
            else:
                self._media.append(data)
                self._media_bytes += len(data)
        elif len(self._control) >= self.CONTROL_FRAMES:
            self.dropped += 1
        else:
            self._control.append(data)

    def _writable(self) -> None:
        """Send what is queued. Reading `ZMQ_EVENTS` first rearms the edge-triggered descriptor."""
        while not self._socket.closed and int(self._socket.EVENTS) & zmq.POLLOUT:
            queue = self._control or self._media
            if not queue:
                return
            try:
                self._socket.send(queue[0], zmq.NOBLOCK)
            except zmq.Again:
                continue
            sent = queue.popleft()
            if queue is self._media:
                self._media_bytes -= len(sent)


def bind(socket: zmq.Socket[bytes], address: str) -> str:
    """Bind *socket*; return the address that peers connect to (a port 0 or `*` filled in).

    Raises:
        ConfigurationError: the address is taken, malformed or not of this machine.
    """
    path = ipc_path(address)
    if path is not None:
        _clear_stale(path)
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        socket.close()
        raise ConfigurationError(f"cannot bind inbox {address!r}: {error}; choose another with --bind") from error
    return str(socket.getsockopt_string(zmq.LAST_ENDPOINT))


def ipc_path(address: str) -> Path | None:
    """Return the file behind an `ipc://` address, None for any other address."""
    return Path(address.removeprefix("ipc://")) if address.startswith("ipc://") else None


def _clear_stale(path: Path) -> None:
    # libzmq unlinks whatever is at the path before it binds, a living process's socket too. A plain file is not ours.
    if path.exists() and not stat.S_ISSOCK(path.stat().st_mode):
        raise ConfigurationError(f"cannot bind inbox at {path}: it exists and is no socket; choose another with --bind")
