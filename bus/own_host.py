"""Which of a name's addresses is this host's: where an inbox binds that is named and not numbered."""

import socket
import time
from typing import Final
from urllib.parse import urlsplit

# The name server of a container engine may not know a container yet when its process starts, or be slow then.
PATIENCE_S: Final = 5.0
PAUSE_S: Final = 0.1


def numbered(address: str) -> str:
    """Return *address* with this host's own number in place of a name. Blocks: for the start of a process.

    A host in several networks is bound to one of them by the name that it has there; where replicas share the name,
    each finds its own number among theirs. Anything else (`*`, a network interface, a name of others) is left to
    ZeroMQ, which says why it cannot be bound.
    """
    parts = urlsplit(address)
    if not parts.hostname or not is_name(address):
        return address
    if parts.hostname in {"*", *(interface for _, interface in socket.if_nameindex())}:
        return address
    deadline = time.monotonic() + PATIENCE_S
    while True:
        own = next(filter(_is_ours, _numbers(parts.hostname)), None)
        if own is not None:
            return f"tcp://{own}:{parts.port}"
        if time.monotonic() > deadline:
            return address
        time.sleep(PAUSE_S)


def is_name(address: str) -> bool:
    """Tell whether *address* is that of a host by its name, and not by a number."""
    parts = urlsplit(address)
    if parts.scheme != "tcp" or not parts.hostname:
        return False
    try:
        socket.inet_pton(socket.AF_INET6 if ":" in parts.hostname else socket.AF_INET, parts.hostname)
    except OSError:
        return True
    return False


def _numbers(name: str) -> list[str]:
    try:
        found = socket.getaddrinfo(name, None, family=socket.AF_INET, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return [str(number) for *_, (number, *_) in found]


def _is_ours(number: str) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((number, 0))
        except OSError:
            return False
    return True
