"""Ports of this machine: which are free, and what a process says about its health there."""

import asyncio
import socket
from collections.abc import Container
from typing import Final

# A health check that takes longer is no answer.
ANSWER_S: Final = 2.0
# A port that is free on one address of a host may be taken on another.
_TRIES: Final = 20


def is_free(host: str, port: int) -> bool:
    """Tell whether a listener could have *port* on every address of *host*; False for an unknown host, too."""
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:
        return False
    for family, kind, protocol, _, address in found:
        try:
            with socket.socket(family, kind, protocol) as listener:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                listener.bind(address)
        except OSError:
            return False
    return True


def usual_or_free(host: str, usual: int, given_away: Container[int] = ()) -> int:
    """Return the port *usual* of *host* if it is free and not *given_away*, else any free one."""
    if usual and usual not in given_away and is_free(host, usual):
        return usual
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for _ in range(_TRIES):
        try:
            with socket.create_server((host, 0), family=family) as listener:
                port: int = listener.getsockname()[1]
        except OSError:  # the host is unknown or not ours: the process that is to have the port will say so
            break
        if port not in given_away and is_free(host, port):
            return port
    return usual


def local(host: str) -> str:
    """Return the address at which this machine reaches its own listener on *host*."""
    return {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)


async def why_not_ready(host: str, port: int) -> str:
    """Ask `/health/ready`; return "" if the process is ready, else what it says or why it does not answer."""
    try:
        async with asyncio.timeout(ANSWER_S):
            reader, writer = await asyncio.open_connection(local(host), port)
            try:
                writer.write(b"GET /health/ready HTTP/1.0\r\n\r\n")
                head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return "no answer yet"
    parts = head.split(maxsplit=2)
    return "" if len(parts) > 1 and parts[1] == b"200" else body.decode(errors="replace").strip() or "no answer yet"
