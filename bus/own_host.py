"""Which of a name's addresses is this host's: where an inbox binds that is named and not numbered."""

import socket
from urllib.parse import urlsplit


def numbered(address: str) -> str:
    """Return *address* with this host's own number in place of a name.

    A host in several networks is bound to one of them by the name that it has there; where replicas share the name,
    each finds its own number among theirs. Anything else (`*`, a network interface, a name of others) is left to
    ZeroMQ, which says why it cannot be bound.
    """
    parts = urlsplit(address)
    if parts.scheme != "tcp" or parts.hostname in {None, "*"}:
        return address
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port, family=socket.AF_INET, type=socket.SOCK_STREAM)
    except (OSError, ValueError):  # a port may be `*`
        return address
    own = next((number for *_, (number, *_) in found if _is_ours(str(number))), None)
    return f"tcp://{own}:{parts.port}" if own else address


def _is_ours(number: str) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((number, 0))
        except OSError:
            return False
    return True
