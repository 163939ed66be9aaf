"""The least that things can cost on this machine, measured without the suite: what the table's figures stand against.

Each is measured once in a run, at first need.
"""

import socket
import tempfile
import time
from binascii import a2b_base64
from functools import cache, partial
from statistics import median
from typing import Any, Final

import numpy as np
import soxr
import zmq

from bus.frames import Frame
from launcher.bench import bus, vad
from launcher.bench.bus_sides import audio_frame
from launcher.client import SAMPLE_RATE
from launcher.load.clients.script import REALTIME_RATE, TELEPHONE_RATE, script
from launcher.load.clients.wire import TWO_BYTES
from services.vad.engines import silero
from services.vad.silero import WINDOW

# Of one session, in a second.
WINDOWS_A_SECOND: Final = SAMPLE_RATE / WINDOW
# Frames that are waiting in the kernel at a time (an append of 40 ms at 24 kHz is 2.6 kB), and how often.
FRAMES: Final = 32
ROUNDS: Final = 20
RATES: Final = {"realtime": REALTIME_RATE, "realtime-pcmu": TELEPHONE_RATE}
_APPEND: Final = len(b'{"type":"input_audio_buffer.append","audio":"')


@cache
def bare_hop_ms() -> float:
    """Return the median time of a message from one process to another with bare pyzmq over ipc, in ms."""
    return bus.hops(1, transports=("ipc",), variants=("bare",))["ipc", "bare"][0].p50_us / 1000


@cache
def window_ms(batch: int = 1) -> float:
    """Return the time of a window in ms, *batch* at a time, if Silero's network is called directly.

    Raises:
        ConfigurationError: the engine `silero` is not installed.
    """
    engine = silero.Engine(silero.Settings())
    engine.load()
    best = vad.measure({vad.NETWORK: partial(vad.network, engine)}, (batch,), 2)
    return 1000 / best[vad.NETWORK, batch]


@cache
def frame_us(protocol: str, chunk_ms: int) -> float:
    """Return the processor time for one frame of a client with nothing but what libraries must do, in microseconds.

    That is: taken from the socket, base64 and G.711 undone, resampled by soxr, made a frame of the bus, and pushed.
    No event loop, no JSON, no masking, no session.
    """
    sent = script(protocol, (), chunk_ms).silence
    head = _head(sent) if protocol != "socket" else 0
    rate = RATES.get(protocol, SAMPLE_RATE)
    stream = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="int16") if rate != SAMPLE_RATE else None
    expanding = np.arange(256, dtype=np.int16) if protocol == "realtime-pcmu" else None
    frame = audio_frame()
    context = zmq.Context()
    client, server = socket.socketpair()
    push, pull = context.socket(zmq.PUSH), context.socket(zmq.PULL)
    costs = []
    with tempfile.TemporaryDirectory(prefix="s2s-") as folder, client, server, push, pull:
        pull.bind(f"ipc://{folder}/floor.ipc")
        push.connect(f"ipc://{folder}/floor.ipc")
        for _ in range(ROUNDS):
            client.sendall(sent * FRAMES)
            began = time.process_time_ns()
            for _ in range(FRAMES):
                payload: Any = server.recv(len(sent), socket.MSG_WAITALL)[head:]
                if protocol in RATES:
                    payload = a2b_base64(payload[_APPEND:-2])
                _push(push, frame, payload, stream, expanding)
            costs.append((time.process_time_ns() - began) / FRAMES / 1000)
            for _ in range(FRAMES):
                pull.recv()
    context.destroy(linger=0)
    return median(costs)


def _push(push: Any, frame: Frame, payload: bytes, stream: Any, expanding: Any) -> None:
    if stream is not None:
        codes = expanding is not None
        samples = expanding[np.frombuffer(payload, np.uint8)] if codes else np.frombuffer(payload, "<i2")
        payload = stream.resample_chunk(samples).tobytes()
    frame.audio.pcm = payload
    push.send(frame.SerializeToString())


def _head(sent: bytes) -> int:
    """Return how long the head of a client's WebSocket frame is, the key included."""
    return (2 if sent[1] & 0x7F < TWO_BYTES else 4) + 4
