"""RFC 6455 by hand, as much of it as a client needs that makes its frames beforehand.

A client library would cost more than the gateway that is measured: here a frame that is sent is one write of bytes made
before the run, and of a frame that comes only the first bytes are looked at.
"""

import asyncio
from collections.abc import Callable
from typing import Final, cast

# RFC 6455, 5.2: opcodes, the shortest head of a frame, and the first of the lengths that mean that it follows.
TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
LEAST_HEAD: Final = 2
TWO_BYTES: Final = 126
EIGHT_BYTES: Final = 127
LONGEST_IN_TWO: Final = 0xFFFF
HUGE: Final = 1 << 62
TRY_AGAIN_LATER: Final = 1013


def frame(opcode: int, payload: bytes) -> bytes:
    """Return a client's frame. The masking key is 0, which leaves the payload as it is."""
    size = len(payload)
    if size < TWO_BYTES:
        head = bytes((0x80 | opcode, 0x80 | size))
    elif size <= LONGEST_IN_TWO:
        head = bytes((0x80 | opcode, 0x80 | TWO_BYTES)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 0x80 | EIGHT_BYTES)) + size.to_bytes(8, "big")
    return head + bytes(4) + payload


class WebSocketWire(asyncio.Protocol):
    """One connection. *heard* gets opcode, buffer, begin and end of each message; *ended* why there are no more."""

    def __init__(
        self,
        request: str,
        opened: Callable[[], None],
        heard: Callable[[int, bytearray, int, int], None],
        ended: Callable[[str, int], None],
    ) -> None:
        self._request = request
        self._opened = opened
        self._heard = heard
        self._ended = ended
        self._buffer = bytearray()
        self._upgraded = False
        self._over = False
        self._transport: asyncio.Transport | None = None

    def itself(self) -> "WebSocketWire":
        """Return the connection: a factory of protocols, of one."""
        return self

    def send(self, ready: bytes) -> None:
        """Send a frame, or several, made by `frame`."""
        if self._transport is not None:
            self._transport.write(ready)

    def close(self) -> None:
        """Say goodbye and hang up."""
        self._over = True
        if self._transport is not None:
            self._transport.write(frame(CLOSE, (1000).to_bytes(2, "big")))
            self._transport.close()

    def abort(self) -> None:
        """Hang up without a word, as a client that crashes does."""
        self._over = True
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the WebSocket."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._transport.write(self._request.encode())

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the interface's
        """Note that nothing more comes."""
        self._transport = None
        self._end("the connection was lost", 0)

    def data_received(self, data: bytes) -> None:
        """Take apart what comes."""
        buffer = self._buffer
        buffer += data
        if not self._upgraded and not self._upgrade():
            return
        at = 0
        while len(buffer) - at >= LEAST_HEAD:  # servers do not mask
            size, head = buffer[at + 1], LEAST_HEAD
            if size >= TWO_BYTES:
                head += 2 if size == TWO_BYTES else 8
                size = int.from_bytes(buffer[at + LEAST_HEAD : at + head], "big") if len(buffer) - at >= head else HUGE
            if len(buffer) - at < head + size:
                break
            begin = at + head
            match buffer[at] & 0xF:
                case 0x1 | 0x2 as opcode:
                    self._heard(opcode, buffer, begin, begin + size)
                case 0x9:
                    self.send(frame(PONG, bytes(buffer[begin : begin + size])))
                case 0x8:
                    code = int.from_bytes(buffer[begin : begin + 2], "big")
                    self._end(bytes(buffer[begin + 2 : begin + size]).decode(errors="replace"), code)
            at = begin + size
        del buffer[:at]

    def _upgrade(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        status = bytes(self._buffer[: self._buffer.find(b"\r\n")]).decode(errors="replace")
        del self._buffer[: end + 4]
        if not status.startswith("HTTP/1.1 101"):
            self._end(status, TRY_AGAIN_LATER if " 503" in status else 0)
            return False
        self._upgraded = True
        self._opened()
        return True

    def _end(self, why: str, code: int) -> None:
        if not self._over:
            self._over = True
            self._ended(why, code)
