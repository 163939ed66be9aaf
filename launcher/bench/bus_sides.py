"""The two ends of a hop, each once as the suite sends frames and once as bare pyzmq does.

A side binds its own address, learns its peer's, and then does one of four things: `ping` and `echo` bounce one message
to and fro, `push` and `drain` move many one way. Each ends after `PATIENCE_S` at the latest, whatever the peer does.
"""

import asyncio
import time
from typing import Final, Protocol

import uvloop
import zmq

from bus.curve import read_keys
from bus.frames import Frame, Header
from bus.node import Node, Receive
from bus.sockets import set_options
from proto.v1 import speech_pb2 as pb

PATIENCE_S: Final = 20.0
# Messages at the start that are not counted: connecting, filling caches.
WARM_UP: Final = 200
# The suite's side pushes so many frames before it lets its loop turn, and pauses while more than BACKLOG are queued.
# uvloop counts time in milliseconds: a shorter pause would be none.
BURST: Final = 64
BACKLOG: Final = 4096
PAUSE_S: Final = 0.001


def audio_frame() -> Frame:
    """Return what travels most: about 30 ms of 16 kHz audio with a full header, 1061 bytes encoded."""
    header = Header(
        session_id="sess_0123456789abcdef0",
        turn_id=3,
        generation=2,
        reply_to="tcp://127.0.0.1:7700",
        next="tcp://127.0.0.1:7702",
    )
    return Frame(header=header, audio=pb.Audio(pcm=bytes(range(244)) * 4, at_sample=1_234_567))


class Side(Protocol):
    """One end of a hop."""

    address: str

    def ping(self, peer: str, count: int) -> list[float]:
        """Send one message, wait for it to come back, *count* times; return the round trips in seconds."""
        ...

    def echo(self, peer: str, count: int) -> None:
        """Send back what comes, *count* times."""
        ...

    def push(self, peer: str, count: int) -> None:
        """Send *count* messages as fast as the peer takes them."""
        ...

    def drain(self, count: int) -> float:
        """Take *count* messages; return messages a second."""
        ...

    def close(self) -> None:
        """Close every socket, dropping what was not sent."""
        ...


class Bare:
    """Plain blocking loops over pyzmq with the suite's socket options; with *codec* they parse and serialise frames."""

    def __init__(self, bind: str, *, codec: bool) -> None:
        self._codec = codec
        self._context = zmq.Context(io_threads=1)
        self._pull = self._socket(zmq.PULL)
        self._pull.bind(bind)
        self._push = self._socket(zmq.PUSH)
        self.address = str(self._pull.getsockopt_string(zmq.LAST_ENDPOINT))
        self._frame = audio_frame()
        self._encoded = self._frame.SerializeToString()

    def ping(self, peer: str, count: int) -> list[float]:
        """See `Side`."""
        self._push.connect(peer)
        trips = []
        for _ in range(count):
            started = time.perf_counter()
            self._send(self._frame)
            self._receive()
            trips.append(time.perf_counter() - started)
        return trips

    def echo(self, peer: str, count: int) -> None:
        """See `Side`."""
        self._push.connect(peer)
        for _ in range(count):
            self._send(self._receive())

    def push(self, peer: str, count: int) -> None:
        """See `Side`."""
        self._push.connect(peer)
        frame, encoded, send = self._frame, self._encoded, self._push.send
        if self._codec:
            for _ in range(count):
                send(frame.SerializeToString())
        else:
            for _ in range(count):
                send(encoded)

    def drain(self, count: int) -> float:
        """See `Side`."""
        for _ in range(WARM_UP):
            self._receive()
        recv = self._pull.recv
        started = time.perf_counter()
        if self._codec:
            for _ in range(count - WARM_UP):
                Frame.FromString(recv()).WhichOneof("body")
        else:
            for _ in range(count - WARM_UP):
                recv()
        return (count - WARM_UP) / (time.perf_counter() - started)

    def close(self) -> None:
        """See `Side`."""
        self._context.destroy(linger=0)

    def _socket(self, kind: int) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        set_options(socket)
        socket.setsockopt(zmq.RCVTIMEO, int(PATIENCE_S * 1000))
        socket.setsockopt(zmq.SNDTIMEO, int(PATIENCE_S * 1000))
        return socket

    def _send(self, frame: Frame) -> None:
        self._push.send(frame.SerializeToString() if self._codec else self._encoded)

    def _receive(self) -> Frame:
        received = self._pull.recv()
        if not self._codec:
            return self._frame
        frame = Frame.FromString(received)
        frame.WhichOneof("body")
        return frame


class Suite:
    """The suite's own way: a `bus.node.Node` on uvloop; frames are serialised, parsed, checked and counted.

    *keys* is the folder of keys that encrypts tcp, "" for none.
    """

    def __init__(self, bind: str, keys: str = "") -> None:
        self._loop = uvloop.new_event_loop()
        self._done = self._loop.create_future()
        self._frame = audio_frame()
        self._node = self._loop.run_until_complete(self._make(bind, keys))
        self.address = self._node.address

    def ping(self, peer: str, count: int) -> list[float]:
        """See `Side`."""
        trips: list[float] = []
        sent_at = 0.0

        def send(frame: Frame) -> None:
            nonlocal sent_at
            sent_at = time.perf_counter()
            self._node.send(peer, frame)

        def back(_: str, frame: Frame) -> None:
            trips.append(time.perf_counter() - sent_at)
            if len(trips) < count:
                send(frame)
            else:
                self._done.set_result(None)

        self._hand_to(back)
        self._loop.call_soon(send, self._frame)
        self._wait()
        return trips

    def echo(self, peer: str, count: int) -> None:
        """See `Side`."""
        taken = 0

        def bounce(_: str, frame: Frame) -> None:
            nonlocal taken
            self._node.send(peer, frame)
            taken += 1
            if taken == count:
                self._done.set_result(None)

        self._hand_to(bounce)
        self._wait()

    def push(self, peer: str, count: int) -> None:
        """See `Side`."""
        self._loop.run_until_complete(asyncio.wait_for(self._push(peer, count), PATIENCE_S))

    def drain(self, count: int) -> float:
        """See `Side`."""
        started = 0.0
        taken = 0

        def take(_body: str, _frame: Frame) -> None:
            nonlocal started, taken
            taken += 1
            if taken == WARM_UP:
                started = time.perf_counter()
            elif taken == count:
                self._done.set_result(None)

        self._hand_to(take)
        self._wait()
        return (count - WARM_UP) / (time.perf_counter() - started)

    def close(self) -> None:
        """See `Side`."""
        self._node.close()
        self._loop.close()

    async def _make(self, bind: str, keys: str) -> Node:
        return Node(bind, pb.GATEWAY, lambda _body, _frame: None, keys=read_keys(keys))

    async def _push(self, peer: str, count: int) -> None:
        frame, send = self._frame, self._node.send
        for sent in range(0, count, BURST):
            for _ in range(min(BURST, count - sent)):
                send(peer, frame)
            await asyncio.sleep(0)
            while self._node.waiting(peer) > BACKLOG:  # noqa: ASYNC110 - a node tells nobody of its backlog
                await asyncio.sleep(PAUSE_S)
        while self._node.waiting(peer):  # noqa: ASYNC110
            await asyncio.sleep(PAUSE_S)

    def _hand_to(self, receive: Receive) -> None:
        self._node._receive = receive  # noqa: SLF001 - a service gives it when it makes its node

    def _wait(self) -> None:
        self._loop.run_until_complete(asyncio.wait_for(self._done, PATIENCE_S))
