"""Many Realtime clients in one process, cheap enough to leave the machine to what is measured.

Every client sends frames that were made before (one 40 ms append each) on a schedule of absolute times, and looks at
the first bytes of what comes. RFC 6455 is spoken here by hand: a client library would cost more than the gateway.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Final, cast

import uvloop

TICK_MS: Final = 40
TICK_S: Final = TICK_MS / 1000
# From the beginning of a turn to the beginning of the next.
TURN_MS: Final = 7_000
TURN_TICKS: Final = TURN_MS // TICK_MS
# What follows a client's last words: the silence that ends the turn, and some.
TAIL_TICKS: Final = 2_000 // TICK_MS
# The vad looks at windows of 32 ms, so it ends a turn so long after `silence_duration_ms` (500), and says so.
ROUNDED_MS: Final = -500 % 32
CONNECT_S: Final = 20.0
CONNECTED_AT_ONCE: Final = 20
START_S: Final = 0.5
# Engines that answer at once leave nothing to wait for; a busy machine gets some time.
GRACE_S: Final = 5.0
KEPT_ERRORS: Final = 5

REQUEST: Final = (
    "GET /v1/realtime HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
# RFC 6455, 5.2: opcodes, the shortest head of a frame, and the first of the lengths that mean that it follows.
TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA
LEAST_HEAD: Final = 2
TWO_BYTES: Final = 126
HUGE: Final = 1 << 62

AUDIO: Final = b'{"type":"response.output_audio.delta"'
STOPPED: Final = b'{"type":"input_audio_buffer.speech_stopped"'
DONE: Final = b'{"type":"response.done"'
ERROR: Final = b'{"type":"error"'
COMPLETED: Final = b'"status":"completed"'
END_KEY: Final = b'"audio_end_ms":'


def frame(opcode: int, payload: bytes) -> bytes:
    """Return a client's frame. The masking key is 0, which leaves the payload as it is."""
    size = len(payload)
    if size < TWO_BYTES:
        head = bytes((0x80 | opcode, 0x80 | size))
    else:
        head = bytes((0x80 | opcode, 0x80 | TWO_BYTES)) + size.to_bytes(2, "big")
    return head + bytes(4) + payload


@dataclass(frozen=True)
class Script:
    """What is sent: *phrases* as frames, one a tick, and *silence* for the ticks between; *ticks* in all."""

    phrases: Sequence[Sequence[bytes]]
    silence: bytes
    ticks: int

    def frame(self, number: int, phase: int, tick: int) -> bytes:
        """Return what client *number*, who first speaks at tick *phase*, sends at *tick*."""
        turn, place = divmod(tick - phase, TURN_TICKS)
        if turn < 0:
            return self.silence
        phrase = self.phrases[(number + turn) % len(self.phrases)]
        return phrase[place] if place < len(phrase) and turn < self.turns(number, phase) else self.silence

    def turns(self, number: int, phase: int) -> int:
        """Return how many turns the client speaks: those that end early enough for an answer."""
        turns = 0
        while True:
            phrase = self.phrases[(number + turns) % len(self.phrases)]
            if phase + turns * TURN_TICKS + len(phrase) + TAIL_TICKS > self.ticks:
                return turns
            turns += 1


@dataclass
class Findings:
    """What all clients of a process have seen. Times in ms."""

    expected: int = 0
    answered: int = 0
    more: int = 0
    """Answers beyond the first to a turn: what was said was taken for several turns."""
    cut: int = 0
    """Connections that ended by themselves."""
    latencies: list[float] = field(default_factory=list)
    window_latencies: list[float] = field(default_factory=list)
    """From the append that completed the vad's window: often the one behind that which completed the silence."""
    lags: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    cpu_ms: float = 0.0

    def add(self, other: "Findings") -> None:
        """Add what another process found."""
        self.expected += other.expected
        self.answered += other.answered
        self.more += other.more
        self.cut += other.cut
        self.latencies += other.latencies
        self.window_latencies += other.window_latencies
        self.lags += other.lags
        self.errors += other.errors
        self.cpu_ms += other.cpu_ms


class Client(asyncio.Protocol):
    """One client. *phase* is the tick at which it first speaks."""

    def __init__(self, number: int, phase: int, script: Script, findings: Findings) -> None:
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._number, self._phase = number, phase
        self._script = script
        self._findings = findings
        self._turns = script.turns(number, phase)
        self._buffer = bytearray()
        self._upgraded = False
        self._start_s = 0.0
        self._sent_s: list[float] = []
        # The turn, and when the appends were sent that completed the silence, and the vad's window.
        self._awaiting: tuple[int, float, float] | None = None
        self._answering = -1
        self._answers: dict[int, int] = {}
        self.transport: asyncio.Transport | None = None
        self.ready = loop.create_future()
        self.spoken = loop.create_future()
        self.answered = loop.create_future()
        """Done when every turn has its answer."""

    def itself(self) -> "Client":
        """Return the client: a factory of protocols, of one."""
        return self

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the WebSocket."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        port = transport.get_extra_info("peername")[1]
        self.transport.write(REQUEST.format(port=port).encode())

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the interface's
        """Note that nothing more comes."""
        self.transport = None
        if not self.spoken.done():
            self._findings.cut += 1
        for waiting in (self.ready, self.spoken, self.answered):
            if not waiting.done():
                waiting.set_result(None)

    def speak(self, start_s: float) -> None:
        """Send all there is to send, beginning at *start_s* (monotonic)."""
        self._start_s = start_s
        self._loop.call_at(start_s, self._tick)

    def close(self) -> int:
        """Hang up; return how many turns were answered."""
        if self.transport is not None:
            self.transport.write(frame(CLOSE, (1000).to_bytes(2, "big")))
            self.transport.close()
        self._findings.expected += self._turns
        answered = sum(1 for turn in range(self._turns) if self._answers.get(turn))
        self._findings.answered += answered
        self._findings.more += sum(self._answers.values()) - answered
        return answered

    def _tick(self) -> None:
        if self.transport is None:
            return
        tick = len(self._sent_s)
        now_s = time.monotonic()
        self._findings.lags.append((now_s - self._start_s - tick * TICK_S) * 1000)
        self.transport.write(self._script.frame(self._number, self._phase, tick))
        self._sent_s.append(now_s)
        if tick + 1 < self._script.ticks:
            self._loop.call_at(self._start_s + (tick + 1) * TICK_S, self._tick)
        elif not self.spoken.done():
            self.spoken.set_result(None)

    # -- what comes ---------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Take apart what comes."""
        now_s = time.monotonic()
        buffer = self._buffer
        buffer += data
        if not self._upgraded:
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            self._upgraded = buffer.startswith(b"HTTP/1.1 101")
            if not self._upgraded:
                self._error(bytes(buffer[:end]))
            del buffer[: end + 4]
            self.ready.set_result(None)
        at = 0
        while len(buffer) - at >= LEAST_HEAD:  # servers do not mask
            size, head = buffer[at + 1], LEAST_HEAD
            if size >= TWO_BYTES:
                head += 2 if size == TWO_BYTES else 8
                size = int.from_bytes(buffer[at + LEAST_HEAD : at + head], "big") if len(buffer) - at >= head else HUGE
            if len(buffer) - at < head + size:
                break
            begin = at + head
            if buffer[at] & 0xF == TEXT:
                self._text(buffer, begin, begin + size, now_s)
            elif buffer[at] & 0xF == PING and self.transport is not None:
                self.transport.write(frame(PONG, bytes(buffer[begin : begin + size])))
            elif buffer[at] & 0xF == CLOSE:
                self._error(b"closed: " + bytes(buffer[begin : begin + size]))
            at = begin + size
        del buffer[:at]

    def _text(self, buffer: bytearray, begin: int, end: int, now_s: float) -> None:
        if buffer.startswith(AUDIO, begin):
            if self._awaiting is not None:
                self._answering, silence_s, window_s = self._awaiting
                self._awaiting = None
                self._findings.latencies.append((now_s - silence_s) * 1000)
                self._findings.window_latencies.append((now_s - window_s) * 1000)
        elif buffer.startswith(STOPPED, begin):
            self._stopped(bytes(buffer[begin:end]))
        elif buffer.startswith(DONE, begin):
            if buffer.find(COMPLETED, begin, end) >= 0 and self._answering >= 0:
                self._answers[self._answering] = self._answers.get(self._answering, 0) + 1
            self._answering = -1
            if not self.answered.done() and all(turn in self._answers for turn in range(self._turns)):
                self.answered.set_result(None)
        elif buffer.startswith(ERROR, begin):
            self._error(bytes(buffer[begin:end]))

    def _stopped(self, event: bytes) -> None:
        """Find the append whose samples completed the silence that ended the turn."""
        end_ms = int(event.partition(END_KEY)[2].split(b"}")[0].split(b",")[0])
        silence, window = (min(-(-at_ms // TICK_MS), len(self._sent_s)) - 1 for at_ms in (end_ms - ROUNDED_MS, end_ms))
        turn = (end_ms // TICK_MS - self._phase) // TURN_TICKS
        self._awaiting = turn, self._sent_s[silence], self._sent_s[window]

    def _error(self, what: bytes) -> None:
        if len(self._findings.errors) < KEPT_ERRORS:
            self._findings.errors.append(f"client {self._number}: {what[:300].decode(errors='replace')}")


async def _run(parent: Connection, port: int, numbers: Sequence[int], of: int, script: Script) -> None:
    findings = Findings()
    loop = asyncio.get_running_loop()
    clients = [Client(number, round(number * TURN_TICKS / of), script, findings) for number in numbers]
    for start in range(0, len(clients), CONNECTED_AT_ONCE):
        group = clients[start : start + CONNECTED_AT_ONCE]
        async with asyncio.timeout(CONNECT_S):
            await asyncio.gather(*(loop.create_connection(client.itself, "127.0.0.1", port) for client in group))
            await asyncio.gather(*(client.ready for client in group))
    parent.send("connected")
    await asyncio.to_thread(parent.recv)
    cpu_s = time.process_time()
    start_s = time.monotonic() + START_S
    for place, client in enumerate(clients):  # not all at the same moment: clients do not know one another
        client.speak(start_s + TICK_S * place / len(clients))
    await asyncio.gather(*(client.spoken for client in clients))
    findings.cpu_ms = (time.process_time() - cpu_s) * 1000
    parent.send("spoken")
    await asyncio.wait([client.answered for client in clients], timeout=GRACE_S)
    for client in clients:
        client.close()
    parent.send(findings)
    await asyncio.sleep(0.1)  # the last frames leave


def run(parent: Connection, port: int, numbers: Sequence[int], of: int, script: Script) -> None:
    """Be clients *numbers* of *of*: say "connected", wait for a word, say "spoken", send `Findings`."""
    uvloop.run(_run(parent, port, numbers, of, script))
