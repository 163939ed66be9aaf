"""Finds the two connections of one TCP client: the one it speaks on and the one it listens on.

There is no handshake, so connections are paired by address and order: the first that came to speak from an address
belongs to the first that came to listen from there.
"""

import ipaddress
from collections import deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class _Waiting(Generic[T]):
    speaking: deque[T] = field(default_factory=deque)
    listening: deque[T] = field(default_factory=deque)


class Pairing(Generic[T]):
    """Holds connections that wait for their other half. The listener bounds their number, `len`, and their time."""

    def __init__(self) -> None:
        self._waiting: dict[str, _Waiting[T]] = {}

    def __len__(self) -> int:
        return sum(len(one.speaking) + len(one.listening) for one in self._waiting.values())

    def speaks(self, host: str, connection: T) -> tuple[T, T] | None:
        """Take a connection that brings audio; return (speaking, listening) if its other half was waiting."""
        return self._match(host, speaking=connection)

    def listens(self, host: str, connection: T) -> tuple[T, T] | None:
        """Take a connection that wants audio; return (speaking, listening) if its other half was waiting."""
        return self._match(host, listening=connection)

    def forget(self, connection: T) -> bool:
        """Give up waiting for the other half of *connection*; return whether it was waiting."""
        for host, waiting in list(self._waiting.items()):
            for queue in (waiting.speaking, waiting.listening):
                if connection in queue:
                    queue.remove(connection)
                    self._tidy(host)
                    return True
        return False

    def _match(self, host: str, *, speaking: T | None = None, listening: T | None = None) -> tuple[T, T] | None:
        host = machine(host)
        waiting = self._waiting.setdefault(host, _Waiting())
        if speaking is not None:
            waiting.speaking.append(speaking)
        if listening is not None:
            waiting.listening.append(listening)
        if not (waiting.speaking and waiting.listening):
            return None
        pair = waiting.speaking.popleft(), waiting.listening.popleft()
        self._tidy(host)
        return pair

    def _tidy(self, host: str) -> None:
        waiting = self._waiting[host]
        if not (waiting.speaking or waiting.listening):
            del self._waiting[host]


def machine(host: str) -> str:
    """Return one name for all the addresses under which this machine calls itself; any other address as it is."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped or address
    return "loopback" if address.is_loopback else str(address)
