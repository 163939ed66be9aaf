"""ZeroMQ sockets on an asyncio loop: one inbox to read, one outbox per peer.

Only this module and `bus.curve`, which holds its keys, import zmq.

`zmq.asyncio` costs a future per message. Here the socket's file descriptor is registered with the loop and drained in
bounded batches. The descriptor is edge-triggered: it becomes readable when the socket's state changes, not while
there is something to read. A reader therefore goes on until ZeroMQ has said that nothing is left (`EAGAIN`, or
`ZMQ_EVENTS` without `POLLIN`), and a writer with a queue until it has said that there is no room; either answer means
that ZeroMQ has emptied its own mailbox and that the next change will signal again.
"""

import asyncio
import itertools
import socket as posix
import stat
import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Final

import zmq

from bus.curve import Guard, Keys, guard_inbox, guard_outbox
from bus.errors import ConfigurationError
from bus.frames import MAX_FRAME_BYTES

# Messages that one connection may hold at each end before the sender's own queue fills. 256 frames of 32 ms are 8 s of
# one session, or 40 ms of two hundred: small enough that a dead peer holds little, large enough for a burst.
HIGH_WATER_MARK: Final = 256
# As much again (the kernel doubles it for its own needs). Its own choice would swallow a minute of audio; a quarter of
# this stalls two busy processes on two cores so often that tcp carries half as much (`launcher.bench.bus`).
KERNEL_BUFFER_BYTES: Final = 256 * 1024
# A message beyond MAX_FRAME_BYTES is counted and answered; beyond this ZeroMQ cuts the sender's connection.
HARD_LIMIT_BYTES: Final = 4 * MAX_FRAME_BYTES
# Messages and bytes taken or sent before the loop gets to run something else: about a millisecond of work.
BATCH: Final = 256
BATCH_BYTES: Final = 1024 * 1024
# A host that vanished is noticed after 30 + 3 * 10 s; its dead connections would be kept for ever otherwise.
KEEPALIVE_IDLE_S: Final = 30
KEEPALIVE_INTERVAL_S: Final = 10
KEEPALIVE_PROBES: Final = 3
# A connection that says nothing for so long before it is known to be a peer's is closed (ZeroMQ's own choice is 30 s).
HANDSHAKE_MS: Final = 5000
# Connections that the kernel holds for an inbox that is busy: more than a site has processes.
ACCEPT_QUEUE: Final = 512
# What a peer's address may begin with: other transports of ZeroMQ are none of the suite's.
SCHEMES: Final = ("tcp://", "ipc://")
# Longest address: a host's name has 253 characters, a unix socket's path 107.
ADDRESS_CHARACTERS: Final = 300
# ZeroMQ tries again when nobody answers, never when who answers is no peer or refuses us. We do, so often: it may be a
# peer that starts at the port of another program, or one that is about to be given our key.
REFUSED_RETRY_S: Final = 1.0

# Plain ints: pyzmq's enums cost as much as the call they are given to.
_NOBLOCK: Final = int(zmq.NOBLOCK)
_POLLIN: Final = int(zmq.POLLIN)
_POLLOUT: Final = int(zmq.POLLOUT)
_EVENTS: Final = int(zmq.EVENTS)
_REFUSALS: Final = int(zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL)
_ENDS: Final = int(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
_DISCONNECTED: Final = int(zmq.EVENT_DISCONNECTED)
_FAILURES: Final = _REFUSALS | int(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL)

Receive = Callable[[list[bytes]], None]
Refused = Callable[[str, str], None]


class Lane(Enum):
    """How a message queues when its peer does not read."""

    CONTROL = "control"
    """Ahead of everything else."""
    MARK = "mark"
    """At its place among the media, and kept when media are dropped."""
    MEDIA = "media"
    """In order; dropped first."""


# A lookup in an enum costs seven times one among the globals, and there are two for every frame that is queued.
_CONTROL: Final = Lane.CONTROL
_MARK: Final = Lane.MARK


class Context:
    """The ZeroMQ context of a process. Close it after every socket made from it.

    With *keys*, its tcp sockets speak CURVE and nothing else. *refused* gets a peer's address ("" for who came to us)
    and the reason when a connection did not come about because one side did not take the other for a peer. *lost* gets
    the address of a peer whose end of a connection is gone: the process ended, or the network broke.
    """

    def __init__(
        self,
        keys: Keys | None = None,
        refused: Refused = lambda _address, _why: None,
        lost: Callable[[str], None] | None = None,
    ) -> None:
        self._zmq = zmq.Context(io_threads=1)
        self._keys = keys
        self._refused = refused
        self._lost = lost
        self._guard: Guard | None = None

    def inbox(self, address: str, receive: Receive) -> "Inbox":
        """Bind a PULL at *address* and give batches of messages to *receive*. Call from the loop that is to read."""
        socket = self._socket(zmq.PULL)
        if not _is_tcp(address):
            return Inbox(socket, address, receive)
        if self._keys is not None:
            self._guard = self._guard or Guard(self._zmq, self._keys)
            guard_inbox(socket, self._keys)
        return Inbox(socket, address, receive, partial(self._refused, ""))

    def outbox(self, address: str) -> "Outbox":
        """Connect a PUSH to *address*. Call from the loop that is to send.

        Raises:
            ConfigurationError: *address* is none that a peer can have.
        """
        if len(address) > ADDRESS_CHARACTERS or not address.startswith(SCHEMES):
            raise ConfigurationError(f"cannot connect to {address[:80]!r}: no tcp:// or ipc:// address")
        socket = self._socket(zmq.PUSH)
        lost = partial(self._lost, address) if self._lost is not None else None
        if not _is_tcp(address):
            return Outbox(socket, address, lost=lost)
        if self._keys is not None:
            guard_outbox(socket, self._keys)
        return Outbox(socket, address, partial(self._refused, address), lost)

    def close(self) -> None:
        """Close what is left and drop what was not sent."""
        if self._guard is not None:
            self._guard.close()
        self._zmq.destroy(linger=0)

    def _socket(self, kind: int) -> zmq.Socket[bytes]:
        try:
            socket = self._zmq.socket(kind)
        except zmq.ZMQError as error:  # no descriptor is left
            raise ConfigurationError(f"cannot make a socket: {error}; raise the limit of open files") from error
        set_options(socket)
        return socket


def set_options(socket: zmq.Socket[bytes]) -> None:
    """Give *socket* the options that every socket of the suite has."""
    for option, value in (
        (zmq.LINGER, 0),
        (zmq.SNDHWM, HIGH_WATER_MARK),
        (zmq.RCVHWM, HIGH_WATER_MARK),
        (zmq.SNDBUF, KERNEL_BUFFER_BYTES),
        (zmq.RCVBUF, KERNEL_BUFFER_BYTES),
        (zmq.MAXMSGSIZE, HARD_LIMIT_BYTES),
        (zmq.RECONNECT_IVL, 50),
        (zmq.RECONNECT_IVL_MAX, 1000),
        (zmq.HANDSHAKE_IVL, HANDSHAKE_MS),
        (zmq.BACKLOG, ACCEPT_QUEUE),
        (zmq.TCP_KEEPALIVE, 1),
        (zmq.TCP_KEEPALIVE_IDLE, KEEPALIVE_IDLE_S),
        (zmq.TCP_KEEPALIVE_INTVL, KEEPALIVE_INTERVAL_S),
        (zmq.TCP_KEEPALIVE_CNT, KEEPALIVE_PROBES),
    ):
        socket.setsockopt(option, value)


class Monitor:
    """Tells what becomes of a socket's connections: *heard* gets the number of each of *events* that ZeroMQ reports.

    A watch costs two descriptors, and nothing while nobody connects or leaves. Make it before the socket is bound or
    connected.
    """

    _numbers: Final = itertools.count()

    def __init__(self, socket: zmq.Socket[bytes], events: int, heard: Callable[[int], None]) -> None:
        self._heard = heard
        self._loop = asyncio.get_running_loop()
        self._watched = socket
        try:
            self._monitor = socket.get_monitor_socket(events, f"inproc://monitor-{next(self._numbers)}")
        except zmq.ZMQError as error:  # no descriptor is left
            socket.close()
            raise ConfigurationError(f"cannot make a socket: {error}; raise the limit of open files") from error
        self._fd = self._monitor.FD
        self._loop.add_reader(self._fd, self._read)
        self._loop.call_soon(self._read)  # what came before the descriptor was watched

    def close(self) -> None:
        """Watch no more. Once."""
        self._loop.remove_reader(self._fd)
        if not self._watched.closed:
            self._watched.disable_monitor()
        self._monitor.close()

    def _read(self) -> None:
        with suppress(zmq.Again):
            while not self._monitor.closed:
                event, _ = self._monitor.recv_multipart(_NOBLOCK)
                self._heard(int.from_bytes(event[:2], sys.byteorder))  # the first field of zmq_socket_monitor(3)


class Inbox:
    """The one PULL that a process binds.

    Holds nothing itself. What is not read in time waits in ZeroMQ, `HIGH_WATER_MARK` messages a connection, then at
    the sender.
    """

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        address: str,
        receive: Receive,
        refused: Callable[[str], None] | None = None,
    ) -> None:
        self._socket = socket
        self._receive = receive
        self._closed = False
        self._handshakes = (
            Monitor(socket, _FAILURES, lambda _event: refused("it did not speak as a peer does")) if refused else None
        )
        try:
            self.address = bind(socket, address)
        except ConfigurationError:
            if self._handshakes is not None:
                self._handshakes.close()
            raise
        self._ipc_path = ipc_path(self.address)
        self._fd = socket.FD
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._readable)
        self._drain_is_due = False
        self._drain_soon()  # what came before the descriptor was watched

    def close(self) -> None:
        """Stop reading. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._fd)
        if self._handshakes is not None:
            self._handshakes.close()
        self._socket.close()
        if self._ipc_path is not None:
            self._ipc_path.unlink(missing_ok=True)

    def _drain_soon(self) -> None:
        self._drain_is_due = True
        self._loop.call_soon(self._drain)

    def _readable(self) -> None:
        if not self._drain_is_due:  # one batch a turn of the loop, however often the descriptor fires
            self._drain()

    def _drain(self) -> None:
        self._drain_is_due = False
        if self._closed:
            return
        try:
            first = self._socket.recv(_NOBLOCK)
        except zmq.Again:
            return
        # Most wake-ups bring one message: it goes on at once, and then asking whether there are more costs less than
        # the exception that would say no.
        self._receive([first])
        if not self._closed and int(self._socket.get(_EVENTS)) & _POLLIN:
            self._receive(self._next_batch())

    def _next_batch(self) -> list[bytes]:
        recv = self._socket.recv
        batch: list[bytes] = []
        room = BATCH_BYTES
        try:
            while len(batch) < BATCH and room > 0:
                message = recv(_NOBLOCK)
                room -= len(message)
                batch.append(message)
        except zmq.Again:
            return batch
        self._drain_soon()  # more may be there, and nothing will signal it
        return batch


class Outbox:
    """A PUSH to one peer's inbox, with a queue for what it will not take at once.

    The first message of a turn of the loop is sent at once; those that follow it wait until `CORK` of them are there or
    the loop turns, and go together: each alone would wake ZeroMQ's thread, which costs more than all the rest.

    What the peer does not take is queued: media up to `MEDIA_BYTES`, control up to `CONTROL_FRAMES` and
    `CONTROL_BYTES`, control going first. Beyond that the message is dropped and counted: the peer has not read for
    seconds and its leases are about to be given up. Marks wait behind the media before them and have `MARK_BYTES` of
    room when those have none left.
    """

    CORK: Final = 64
    MEDIA_BYTES: Final = 8 * 1024 * 1024
    MARK_BYTES: Final = 256 * 1024
    CONTROL_FRAMES: Final = 10_000
    CONTROL_BYTES: Final = 8 * MAX_FRAME_BYTES

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        address: str,
        refused: Callable[[str], None] | None = None,
        lost: Callable[[], None] | None = None,
    ) -> None:
        self._socket = socket
        self._loop = asyncio.get_running_loop()
        self._refused = refused
        self._lost = lost
        self._connected = False  # known only where somebody wants to know of the end
        self._retry: asyncio.TimerHandle | None = None
        events = (_REFUSALS if refused else 0) | (_ENDS if lost else 0)
        self._monitor = Monitor(socket, events, self._connection_changed) if events else None
        self._corked: list[tuple[bytes, Lane]] = []
        self._media: deque[bytes] = deque()
        self._media_bytes = 0
        self._control: deque[bytes] = deque()
        self._control_bytes = 0
        self._closed = False
        self._flush_is_due = False
        self._blocked = False
        self.address = address
        self.dropped = 0
        self.used = True
        """Set by every send, for whoever wants to know which peers are idle."""
        try:
            socket.connect(address)
        except zmq.ZMQError as error:
            if self._monitor is not None:
                self._monitor.close()
            socket.close()
            raise ConfigurationError(f"cannot connect to {address!r}: {error}") from error
        # What `Socket.send` of pyzmq ends in, without its look at options that nobody here uses: half its time.
        self._send = super(zmq.Socket, socket).send
        self._fd = socket.FD

    @property
    def waiting(self) -> int:
        """Messages that the peer has not taken yet (those inside ZeroMQ aside)."""
        return len(self._corked) + len(self._control) + len(self._media)

    def send(self, data: bytes, lane: Lane = Lane.CONTROL) -> bool:
        """Send *data*, or queue it if the peer is not reading; return False if it was dropped. Never blocks."""
        self.used = True
        if self._blocked:
            return self._queue(data, lane)
        if self._closed:
            self.dropped += 1
            return False
        if self._flush_is_due:
            self._corked.append((data, lane))
            if len(self._corked) >= self.CORK:
                self._uncork()
            return True
        self._flush_soon()
        try:
            self._send(data, _NOBLOCK)
        except zmq.Again:
            self._block()
            return self._queue(data, lane)
        return True

    def close(self) -> None:
        """Drop what was not sent. Idempotent."""
        if not self._closed:
            self._closed = True
            if self._blocked:
                self._blocked = False
                self._loop.remove_reader(self._fd)
            if self._retry is not None:
                self._retry.cancel()
            if self._monitor is not None:
                self._monitor.close()
            self._socket.close()
            self._corked.clear()
            self._control.clear()
            self._media.clear()

    def _connection_changed(self, event: int) -> None:
        if event & _REFUSALS:
            self._turned_away()
        elif event != _DISCONNECTED:
            self._connected = True
        elif self._connected:  # else it never came about, or is told of twice
            self._connected = False
            if self._lost is not None:
                self._lost()

    def _turned_away(self) -> None:
        """Have ZeroMQ, which gives up here, try again soon. What it held for the peer is lost."""
        if self._refused is not None:
            self._refused("it is no peer, or does not take us for one")
        if self._retry is None:
            self._retry = self._loop.call_later(REFUSED_RETRY_S, self._connect_again)

    def _connect_again(self) -> None:
        self._retry = None
        with suppress(zmq.ZMQError):  # what is left of the connection
            self._socket.disconnect(self.address)
        self._socket.connect(self.address)

    def _queue(self, data: bytes, lane: Lane) -> bool:
        size = len(data)
        if lane is _CONTROL:
            if len(self._control) < self.CONTROL_FRAMES and self._control_bytes + size <= self.CONTROL_BYTES:
                self._control.append(data)
                self._control_bytes += size
                return True
        elif self._media_bytes + size <= self.MEDIA_BYTES + (self.MARK_BYTES if lane is _MARK else 0):
            self._media.append(data)
            self._media_bytes += size
            return True
        self.dropped += 1
        return False

    def _flush_soon(self) -> None:
        self._flush_is_due = True
        self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_is_due = False
        if self._closed:
            return
        if self._blocked:
            self._unblock()
        elif self._corked:
            self._uncork()
            self._flush_soon()

    def _uncork(self) -> None:
        """Send what this turn of the loop brought, in its order; queue what the peer does not take."""
        corked, self._corked = self._corked, []
        send = self._send
        sent = 0
        try:
            for data, _ in corked:
                send(data, _NOBLOCK)
                sent += 1
        except zmq.Again:
            self._block()
            for data, lane in corked[sent:]:
                self._queue(data, lane)

    def _block(self) -> None:
        # A refusal means that ZeroMQ knows of no room; the word that there is some signals, also if it came already and
        # was not read. Watched only now: a descriptor that is always watched wakes the loop for nothing at every send,
        # which made a hop a third slower.
        self._blocked = True
        self._loop.add_reader(self._fd, self._writable)

    def _writable(self) -> None:
        # Reading the events empties ZeroMQ's mailbox, else the descriptor would stay readable.
        if self._blocked and int(self._socket.get(_EVENTS)) & _POLLOUT and not self._flush_is_due:
            self._unblock()

    def _unblock(self) -> None:
        """Send what is queued, control first, a batch at most."""
        send = self._send
        try:
            for _ in range(BATCH):
                if self._control:
                    send(self._control[0], _NOBLOCK)
                    self._control_bytes -= len(self._control.popleft())
                elif self._media:
                    send(self._media[0], _NOBLOCK)
                    self._media_bytes -= len(self._media.popleft())
                else:
                    self._blocked = False
                    self._loop.remove_reader(self._fd)
                    return
        except zmq.Again:
            return
        self._flush_soon()  # there may be room for more, and nothing will signal it


def bind(socket: zmq.Socket[bytes], address: str) -> str:
    """Bind *socket*; return the address that peers connect to (a port 0 or `*` filled in).

    Raises:
        ConfigurationError: the address is taken, malformed or not of this machine.
    """
    path = ipc_path(address)
    try:
        if path is not None:
            _refuse_if_taken(path)
        socket.bind(address)
    except (zmq.ZMQError, OSError, ConfigurationError) as error:
        socket.close()
        raise ConfigurationError(f"cannot bind inbox {address!r}: {error}; choose another with --bind") from error
    return str(socket.getsockopt_string(zmq.LAST_ENDPOINT))


def _is_tcp(address: str) -> bool:
    return address.startswith("tcp://")


def ipc_path(address: str) -> Path | None:
    """Return the file behind an `ipc://` address, None for any other address (abstract sockets have no file)."""
    path = address.removeprefix("ipc://")
    return None if path == address or path[:1] in {"", "@", "*"} else Path(path)


def _refuse_if_taken(path: Path) -> None:
    # libzmq unlinks whatever is at the path before it binds: a living process's socket, which would never hear
    # anything again, and a plain file, which is not ours. What a killed process left behind may go.
    if not path.exists():
        return
    if not stat.S_ISSOCK(path.stat().st_mode):
        raise ConfigurationError("the file exists and is no socket")
    with posix.socket(posix.AF_UNIX, posix.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except BlockingIOError:
            pass  # its backlog is full: somebody listens
        except OSError:
            return
    raise ConfigurationError("another process listens there")
