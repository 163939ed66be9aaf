"""A process on the bus: one inbox, one outbox per peer, bad frames counted and answered."""

import asyncio
import socket
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

import structlog

from bus.curve import Keys
from bus.errors import ConfigurationError, MalformedFrameError
from bus.frames import BODIES, IN_ORDER, MEDIA, Frame, Header, answer, body_of, decode, encode
from bus.logs import OncePerSecond
from bus.metrics import FRAMES_DROPPED, FRAMES_RECEIVED, FRAMES_SENT, PEERS_REFUSED
from bus.own_host import numbered
from bus.sockets import HARD_LIMIT_BYTES, Context, Lane, Outbox
from proto.v1 import speech_pb2 as pb

log = structlog.get_logger(__name__)

# A peer that nothing was sent to for so long is forgotten; the next frame connects again.
IDLE_PEER_S: Final = 60.0
# Connections at most. A suite has tens of processes; who invents addresses must not use up the descriptors.
PEERS: Final = 256

LANES: Final = {
    body: Lane.MEDIA if body in MEDIA else Lane.MARK if body in IN_ORDER else Lane.CONTROL for body in BODIES
}

Receive = Callable[[str, Frame], None]


class Node:
    """Sends frames to any address and hands every good frame of the inbox to *receive*.

    Use from one event loop only. *receive* gets the name of the body and the frame; what it raises is logged and
    counted, and the node goes on. With *keys*, tcp connections are encrypted, and only with members of the suite.
    *lost* gets the address of a peer when a connection to it ends, which is sooner than its silence would tell.
    """

    def __init__(
        self,
        bind: str,
        role: pb.Role.ValueType,
        receive: Receive,
        advertise: str = "",
        *,
        keys: Keys | None = None,
        lost: Callable[[str], None] | None = None,
    ) -> None:
        self._context = Context(keys, self._refused, lost)
        self._has_keys = keys is not None
        self._role = role
        self._receive = receive
        self._outboxes: dict[str, Outbox] = {}
        self._used_at: dict[str, float] = {}
        self._log_limit = OncePerSecond()
        self._loop = asyncio.get_running_loop()
        try:
            self._inbox = self._context.inbox(numbered(bind), self._drain)
        except ConfigurationError:
            self._context.close()
            raise
        self.address = advertise or reachable(self._inbox.address)

    def send(self, address: str, frame: Frame) -> None:
        """Send *frame* to the inbox at *address*; to nobody if it is empty. Never blocks.

        What a peer does not take is queued within the bounds of `Outbox`, then dropped and counted.
        """
        if not address:
            return
        outbox = self._outboxes.get(address) or self._connect(address)
        if outbox is None:
            return
        body = body_of(frame, "body")
        if body is None:
            raise ValueError("a frame without a body")
        encoded = encode(frame)
        if len(encoded) > HARD_LIMIT_BYTES:  # the peer would cut the connection, and other sessions' frames with it
            self.drop("too_big", peer=address, body=body, size=len(encoded))
            return
        if outbox.send(encoded, LANES[body]):
            FRAMES_SENT[body] += 1
        else:
            self.drop("peer_not_reading", peer=address, body=body)

    def waiting(self, address: str) -> int:
        """Return how many frames the peer at *address* has not taken yet, those inside ZeroMQ aside."""
        outbox = self._outboxes.get(address)
        return outbox.waiting if outbox else 0

    def forget(self, address: str) -> None:
        """Close the connection to *address* and drop what it still holds."""
        self._used_at.pop(address, None)
        outbox = self._outboxes.pop(address, None)
        if outbox is not None:
            outbox.close()

    def forget_idle(self) -> None:
        """Close the connections that have not been used for `IDLE_PEER_S`. Call now and then."""
        now = self._loop.time()
        for address, outbox in list(self._outboxes.items()):
            if outbox.used:
                outbox.used = False  # until the next send; looking at the clock here is cheaper than there
                self._used_at[address] = now
            elif now - self._used_at[address] > IDLE_PEER_S:
                self.forget(address)

    def fail(self, header: Header, code: pb.Error.Code.ValueType, message: str, *, retryable: bool = False) -> None:
        """Answer the sender of *header* with an Error, if it said where to."""
        error = pb.Error(code=code, message=message, role=self._role, retryable=retryable)
        self.send(header.reply_to, answer(header, error=error))

    def drop(self, reason: str, **facts: object) -> None:
        """Count a frame that is not used, and log it once a second at most for each reason."""
        FRAMES_DROPPED.labels(reason).inc()
        held_back = self._log_limit.held_back(reason)
        if held_back is not None:
            log.warning("frame dropped", reason=reason, more=held_back, **facts)

    def close(self) -> None:
        """Close every socket. Idempotent."""
        self._inbox.close()
        for address in list(self._outboxes):
            self.forget(address)
        self._context.close()

    def _connect(self, address: str) -> Outbox | None:
        if len(self._outboxes) >= PEERS:
            oldest = min(self._outboxes, key=lambda known: (self._outboxes[known].used, self._used_at[known]))
            self.drop("too_many_peers", peer=oldest)
            self.forget(oldest)
        try:
            outbox = self._context.outbox(address)
        except ConfigurationError as error:
            self.drop("bad_address", peer=address[:200], error=str(error)[:200])
            return None
        self._outboxes[address] = outbox
        self._used_at[address] = self._loop.time()
        return outbox

    def _refused(self, address: str, why: str) -> None:
        """Count a connection that did not come about; *address* is that of a peer, "" if it was made to our inbox."""
        PEERS_REFUSED.labels("to a peer" if address else "to the inbox").inc()
        held_back = self._log_limit.held_back(f"refused {bool(address)}")
        if held_back is not None:
            ours = "has --bus_keys, and both need keys of the same suite" if self._has_keys else "has no --bus_keys"
            log.warning(
                "no connection", peer=address or "somebody", why=why, hint=f"this process {ours}", more=held_back
            )

    def _drain(self, batch: list[bytes]) -> None:
        receive, counts = self._receive, FRAMES_RECEIVED
        for data in batch:
            try:
                body, frame = decode(data)
            except MalformedFrameError as error:
                self.drop("malformed", error=str(error))
                # An error is never answered with an error: two peers would keep each other busy for ever.
                if error.header is not None:
                    self.fail(error.header, pb.Error.BAD_FRAME, str(error))
                continue
            counts[body] += 1
            try:
                receive(body, frame)
            except Exception:
                self.drop("receiver_failed", body=body)
                log.exception("frame handler failed", body=body)


def reachable(address: str) -> str:
    """Return *address* with the address of this host in place of one that means "all interfaces".

    That of the host's name, which in a container is the container's; elsewhere say `--advertise`.
    """
    parts = urlsplit(address)
    if parts.scheme != "tcp" or parts.hostname != "0.0.0.0":
        return address
    try:
        host = socket.gethostbyname(socket.gethostname())
    except OSError:
        host = "127.0.0.1"
    return f"tcp://{host}:{parts.port}"
