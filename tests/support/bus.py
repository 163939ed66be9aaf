"""A gateway made of nothing but an inbox, and services run inside the test's own event loop."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

from bus.frames import Frame, Header
from bus.node import Node
from bus.serve import Handler, Service
from bus.settings import ServiceSettings
from proto.v1 import speech_pb2 as pb

# How long a test waits for what must come. Long, because two busy cores are slow; nothing is decided by it but failure.
PATIENCE_S = 20.0


@contextmanager
def ipc_folder() -> Iterator[Path]:
    """Yield a folder with a path short enough for a unix socket (107 bytes; pytest's own can be longer)."""
    with tempfile.TemporaryDirectory(prefix="s2s-") as folder:
        yield Path(folder)


class FakeGateway:
    """Keeps every frame that came, in order, and lets a test wait for the next of a kind."""

    def __init__(self, folder: Path) -> None:
        self.received: list[tuple[str, Frame]] = []
        self.announcements: list[pb.Announcement] = []
        self._taken = 0
        self._arrived = asyncio.Event()
        self._node = Node(f"ipc://{folder}/gateway.ipc", pb.GATEWAY, self._receive)
        self.folder = folder
        self.address = self._node.address

    def send(self, address: str, header: Header | None = None, /, **body: Any) -> None:
        """Send one body to *address*; answers come here unless *header* says otherwise."""
        header = header or Header(session_id="s1")
        if not header.reply_to:
            header = Header.FromString(header.SerializeToString())
            header.reply_to = self.address
        self._node.send(address, Frame(header=header, **body))

    def send_raw(self, address: str, data: bytes) -> None:
        """Send bytes that need not be a frame."""
        outbox = self._node._outboxes.get(address) or self._node._connect(address)
        assert outbox is not None
        outbox.send(data)

    async def next(self, *bodies: str) -> Frame:
        """Return the next frame with one of *bodies* (any, if none is named), skipping others."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                while self._taken < len(self.received):
                    body, frame = self.received[self._taken]
                    self._taken += 1
                    if not bodies or body in bodies:
                        return frame
                self._arrived.clear()
                await self._arrived.wait()

    async def ready(self) -> pb.Announcement:
        """Wait until a service has announced that it is ready."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                for announcement in self.announcements:
                    if announcement.state == pb.READY:
                        return announcement
                self._arrived.clear()
                await self._arrived.wait()

    def bodies(self) -> list[str]:
        """Return the names of all bodies that came so far, announcements aside."""
        return [body for body, _ in self.received]

    def close(self) -> None:
        """Close the inbox."""
        self._node.close()

    def _receive(self, body: str, frame: Frame) -> None:
        if body == "announcement":
            self.announcements.append(frame.announcement)
        else:
            self.received.append((body, frame))
        self._arrived.set()


@asynccontextmanager
async def serving(
    handler: Handler, *, engine: str = "scripted", **settings: Any
) -> AsyncIterator[tuple[FakeGateway, str]]:
    """Run *handler* as a service; yield a gateway that it has announced itself to, and the service's address."""
    with ipc_folder() as folder:
        gateway = FakeGateway(folder)
        told = ServiceSettings(
            engine=engine,
            bind=f"ipc://{folder}/service.ipc",
            gateways=[gateway.address],
            drain_timeout_s=0.0,
            **settings,
        )
        service = Service(handler, told)
        running = asyncio.create_task(service.run())
        waiting = asyncio.create_task(gateway.ready())
        try:
            await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                await running  # raises what stopped it
            await waiting
            yield gateway, service.address
        finally:
            waiting.cancel()
            service.drain()
            with suppress(asyncio.CancelledError):
                await asyncio.wait_for(running, PATIENCE_S)
            gateway.close()
