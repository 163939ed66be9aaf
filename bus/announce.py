"""Tells every gateway once a second that this service is here."""

import asyncio
import socket
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

import structlog

from bus.frames import Frame
from bus.node import Node
from bus.own_host import is_name
from proto.v1 import speech_pb2 as pb

log = structlog.get_logger(__name__)

BEAT_S: Final = 1.0
# A service whose beats stay out so long is gone.
MISSED_BEATS: Final = 3
# How often names are looked up again: a gateway that moved is found within this.
RESOLVE_S: Final = 5.0


class Announcer:
    """Pushes `announcement()` to every gateway; a DNS name stands for all its addresses."""

    def __init__(self, node: Node, gateways: list[str], announcement: Callable[[], pb.Announcement]) -> None:
        self._node = node
        self._gateways = gateways
        self._announcement = announcement
        self._found = {gateway: [] if is_name(gateway) else [gateway] for gateway in gateways}

    async def run(self) -> None:
        """Announce for ever."""
        async with asyncio.TaskGroup() as tasks:
            # Each name on its own: a name server that does not answer must not hold up the beats.
            for gateway in self._gateways:
                if is_name(gateway):
                    tasks.create_task(self._follow(gateway))
            while True:
                self.announce()
                await asyncio.sleep(BEAT_S)

    def announce(self) -> None:
        """Announce now, because something changed."""
        frame = Frame(announcement=self._announcement())
        for address in self._addresses():
            self._node.send(address, frame)

    async def say_goodbye(self) -> None:
        """Announce for the last time and give the frame a moment to leave."""
        self.announce()
        await asyncio.sleep(0.02)

    def _addresses(self) -> list[str]:
        return list(dict.fromkeys(address for found in self._found.values() for address in found))

    async def _follow(self, gateway: str) -> None:
        """Look *gateway* up again and again. While nobody answers, what was found last still holds."""
        while True:
            found = await _resolve(gateway)
            if found and found != self._found[gateway]:
                before = self._addresses()
                self._found[gateway] = found
                for address in set(before) - set(self._addresses()):
                    self._node.forget(address)
                self.announce()
            await asyncio.sleep(RESOLVE_S)


async def _resolve(address: str) -> list[str]:
    parts = urlsplit(address)
    try:
        infos = await asyncio.get_running_loop().getaddrinfo(
            parts.hostname, parts.port, family=socket.AF_INET, type=socket.SOCK_STREAM
        )
    except (OSError, UnicodeError) as error:
        log.warning("gateway name not found, trying again", name=parts.hostname, error=str(error))
        return []
    return sorted(f"tcp://{info[4][0]!s}:{info[4][1]}" for info in infos)  # type: ignore[str-bytes-safe]
