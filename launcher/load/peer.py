"""A gateway made of nothing but an inbox: how a load run or a check talks to one service alone.

Services that were told of the inbox announce themselves to it; any other can be sent frames, and answers to the
`reply_to` that they carry. Leases are renewed once a second for as long as `hold` says so.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

from bus.announce import BEAT_S
from bus.curve import Keys
from bus.errors import ConfigurationError
from bus.frames import Frame, Header
from bus.node import Node
from launcher.errors import UnreachableError, UsageError
from proto.v1 import speech_pb2 as pb

# As the gateway does.
RENEWED_AT_ONCE: Final = 1000

Receive = Callable[[str, Frame], None]


class Peer:
    """An inbox and what came to it. *receive* gets every frame but announcements. Use from one event loop.

    *keys*: of an encrypted bus.

    Nothing is queued here: who wants to keep frames keeps them in *receive*. Of announcements the newest of each
    instance stays.
    """

    def __init__(self, bind: str, receive: Receive, keys: Keys | None = None) -> None:
        self._receive = receive
        self._arrived = asyncio.Event()
        self._held: dict[str, set[str]] = {}
        self._renewing: asyncio.Task[None] | None = None
        self.announcements: dict[str, pb.Announcement] = {}
        """The newest announcement of each instance, by `instance_id`."""
        try:
            self._node = Node(bind, pb.GATEWAY, self._heard, keys=keys)
        except ConfigurationError as error:
            raise UsageError(f"--bind: {error}") from error
        self.address = self._node.address

    def send(self, address: str, frame: Frame) -> None:
        """Send *frame* to the inbox at *address*. Never blocks."""
        self._node.send(address, frame)

    def ask(self, address: str, header: Header, /, **body: Any) -> None:
        """Send one body to *address*, to be answered here."""
        header.reply_to = self.address
        self._node.send(address, Frame(header=header, **body))

    def hold(self, address: str, session_id: str) -> None:
        """Renew the leases of a session in the service at *address* from now on."""
        self._held.setdefault(address, set()).add(session_id)
        self._renewing = self._renewing or asyncio.ensure_future(self._renew())

    def let_go(self, address: str, session_id: str) -> None:
        """Renew no longer. Idempotent."""
        self._held.get(address, set()).discard(session_id)

    async def ready(self, role: pb.Role.ValueType, patience_s: float) -> pb.Announcement:
        """Wait until a service of *role* has announced that it is ready.

        Raises:
            UnreachableError: none has within *patience_s*; says what was heard.
        """
        try:
            async with asyncio.timeout(patience_s):
                while True:
                    for said in self.announcements.values():
                        if said.role == role and said.state == pb.READY:
                            return said
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            heard = ", ".join(
                f"{pb.Role.Name(said.role).lower()} {pb.State.Name(said.state).lower()}"
                for said in self.announcements.values()
            )
            raise UnreachableError(
                f"no {pb.Role.Name(role).lower()} service announced itself to {self.address} within "
                f"{patience_s:g} s (heard: {heard or 'nothing'})"
            ) from None

    def close(self) -> None:
        """Close the inbox. Idempotent."""
        if self._renewing is not None:
            self._renewing.cancel()
        self._node.close()

    def _heard(self, body: str, frame: Frame) -> None:
        if body == "announcement":
            self.announcements[frame.announcement.instance_id] = frame.announcement
            self._arrived.set()
        else:
            self._receive(body, frame)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            for address, held in self._held.items():
                ids = sorted(held)
                for start in range(0, len(ids), RENEWED_AT_ONCE):
                    renewal = pb.LeaseRenewal(session_ids=ids[start : start + RENEWED_AT_ONCE])
                    self._node.send(address, Frame(lease_renewal=renewal))


def numeric(address: str) -> str:
    """Return *address* with its host as a number: ZeroMQ looks names up on the thread that carries all frames.

    Raises:
        UsageError: it is no address, or its host is unknown.
    """
    parts = urlsplit(address)
    if parts.scheme == "ipc" and len(address) > len("ipc://"):
        return address
    try:
        if parts.scheme != "tcp" or not parts.hostname or not parts.port:
            raise UsageError(f"{address!r} is no inbox; write tcp://HOST:PORT or ipc://PATH")
        host = socket.getaddrinfo(parts.hostname, parts.port, socket.AF_INET, socket.SOCK_STREAM)[0][4][0]
    except OSError as error:
        raise UsageError(f"{address}: {error.strerror or error}") from error
    except ValueError as error:
        raise UsageError(f"{address!r}: {error}") from error
    return f"tcp://{host}:{parts.port}"


def inbox_beside(address: str, folder: str, name: str) -> str:
    """Return where to bind an inbox that the service at *address* can answer to: a file of *folder*, or a port.

    The host is the one that this machine has on the way to the service.
    """
    parts = urlsplit(address)
    if parts.scheme != "tcp":
        return f"ipc://{folder}/{name}.ipc"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:  # connecting a datagram socket sends nothing
        probe.connect((parts.hostname, parts.port or 1))
        return f"tcp://{probe.getsockname()[0]}:*"
