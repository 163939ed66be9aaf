"""How much the bus costs: one hop of a 1061-byte audio frame, ours against bare pyzmq. `python -m launcher.bench.bus`.

Two processes on this machine. Latency: one frame bounces between them, a hop is half a round trip. Messages a second:
one process pushes as fast as it can, the other drains; counted at the receiver. The suite's way is `bus.node` on uvloop
(serialise, PUSH, drain by descriptor, parse, check, count). Bare is blocking `send` and `recv` in plain loops with
the same socket options, once with the same bytes as they are (`bare`), once serialising and parsing them
(`bare+codec`). The three take turns in every round; the table shows the medians of the rounds, and the ratio of the
suite to each within the rounds.
"""

import argparse
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

import zmq

from launcher.bench.bus_sides import PATIENCE_S, WARM_UP, Bare, Side, Suite, audio_frame
from launcher.bench.machine import describe
from launcher.keys import new

VARIANTS: Final = ("suite", "bare", "bare+codec")
TRANSPORTS: Final = ("ipc", "tcp")
# Short rounds, and many: on a busy machine the ratios of two rounds differ by half.
ROUND_TRIPS: Final = 1000
MESSAGES: Final = 10_000
# The whole run ends after this; a slow machine gets fewer rounds.
LIMIT_S: Final = 55.0


@dataclass(frozen=True)
class Task:
    """One measurement, as the other process is told of it."""

    variant: str
    bind: str
    latency: bool
    keys: str


@dataclass(frozen=True)
class Hop:
    """What one round found for one variant and transport."""

    p50_us: float
    p99_us: float
    per_second: float


# The rounds of each transport and variant.
Found = dict[tuple[str, str], list[Hop]]


def main() -> int:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(prog="launcher.bench.bus", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15, help="how often each is measured (default 15)")
    parser.add_argument(
        "--encrypted", action="store_true", help="give the suite keys: its tcp is encrypted, bare is not"
    )
    told = parser.parse_args()
    sys.stdout.write("the suite's tcp is encrypted\n" if told.encrypted else "")
    sys.stdout.write(table(hops(max(1, told.rounds), encrypted=told.encrypted)))
    return 0


def hops(
    rounds: int,
    *,
    transports: Sequence[str] = TRANSPORTS,
    variants: Sequence[str] = VARIANTS,
    encrypted: bool = False,
) -> Found:
    """Measure every variant over every transport in each of *rounds*, or as many rounds as `LIMIT_S` holds."""
    ends_at = time.monotonic() + LIMIT_S
    spawn = multiprocessing.get_context("spawn")
    near, far = spawn.Pipe()
    peer = spawn.Process(target=serve, args=(far,), daemon=True)
    peer.start()
    found: Found = {(t, v): [] for t in transports for v in variants}
    with tempfile.TemporaryDirectory(prefix="s2s-") as folder:
        keys = ""
        if encrypted:
            new(Path(folder) / "keys", ["bench"])
            keys = f"{folder}/keys/bench"
        for done in range(rounds):
            started = time.monotonic()
            for (transport, variant), measured in found.items():
                measured.append(measure(near, variant, transport, folder, keys))
            if time.monotonic() + (time.monotonic() - started) > ends_at:
                if done + 1 < rounds:
                    sys.stderr.write(f"stopped after {done + 1} of {rounds} rounds: the time is up\n")
                break
    near.send(None)
    peer.join(PATIENCE_S)
    return found


def ratios(found: Found, transport: str, variant: str) -> tuple[float, float]:
    """Return how much slower the suite is than *variant* (p50), and its share of the messages a second.

    Medians of the ratios within the rounds.
    """
    pairs = list(zip(found[transport, "suite"], found[transport, variant], strict=True))
    slower = statistics.median(ours.p50_us / bare.p50_us for ours, bare in pairs)
    return slower, statistics.median(ours.per_second / bare.per_second for ours, bare in pairs)


def measure(peer: Connection, variant: str, transport: str, folder: str, keys: str) -> Hop:
    """Measure one variant over one transport, together with the process behind *peer*."""
    near, far = _address(transport, folder, "near"), _address(transport, folder, "far")
    trips, _ = _together(peer, Task(variant, far, latency=True, keys=keys), near)
    _, rate = _together(peer, Task(variant, far, latency=False, keys=keys), near)
    hops_us = sorted(trip / 2 * 1e6 for trip in trips[WARM_UP:])
    return Hop(statistics.median(hops_us), hops_us[int(len(hops_us) * 0.99)], rate)


def serve(pipe: Connection) -> None:
    """Be the other process: echo or drain as told until told None."""
    while (task := pipe.recv()) is not None:
        side = make(task.variant, task.bind, task.keys)
        try:
            pipe.send(side.address)
            peer = pipe.recv()
            if task.latency:
                side.echo(peer, ROUND_TRIPS)
                pipe.send(0.0)
            else:
                pipe.send(side.drain(MESSAGES))
            pipe.recv()  # both are done: nothing is on its way any more
        finally:
            side.close()


def make(variant: str, bind: str, keys: str) -> Side:
    """Return a side of *variant* that listens at *bind*."""
    return Suite(bind, keys) if variant == "suite" else Bare(bind, codec=variant == "bare+codec")


def table(found: Found) -> str:
    """Return the table with its heading."""
    rounds = len(next(iter(found.values())))
    lines = [
        describe("pyzmq", "protobuf", "uvloop") + f", libzmq {_libzmq()}",
        f"audio frame of {audio_frame().ByteSize()} bytes, {ROUND_TRIPS} round trips, {MESSAGES} messages",
        f"medians of {rounds} rounds; bare: blocking pyzmq, same bytes; +codec: serialised and parsed each time",
        "",
        f"{'':18}{'hop p50':>12}{'hop p99':>12}{'messages/s':>14}{'suite: latency':>19}{'messages/s':>13}",
    ]
    for (transport, variant), measured in found.items():
        p50, p99 = (statistics.median(values) for values in zip(*((h.p50_us, h.p99_us) for h in measured), strict=True))
        rate = statistics.median(h.per_second for h in measured)
        line = f"{transport:6}{variant:12}{p50:9.1f} us{p99:9.1f} us{rate:14,.0f}"
        if variant != "suite":
            slower, share = ratios(found, transport, variant)
            line += f"{slower:17.2f} x{share:11.2f} x"
        lines.append(line)
    lines += ["", "to reach against bare: latency at most 2 x (aim 1.3 x), messages/s at least 0.5 x (aim 0.8 x)"]
    return "\n".join(lines) + "\n"


def _together(peer: Connection, task: Task, bind: str) -> tuple[list[float], float]:
    """Return the round trips and the messages a second, whichever of them was asked for."""
    side = make(task.variant, bind, task.keys)
    try:
        peer.send(task)
        address = peer.recv()
        peer.send(side.address)
        trips: list[float] = []
        if task.latency:
            trips = side.ping(address, ROUND_TRIPS)
        else:
            side.push(address, MESSAGES)
        if not peer.poll(PATIENCE_S):
            raise TimeoutError("the other process does not answer")
        return trips, peer.recv()
    finally:
        peer.send("close")
        side.close()


def _address(transport: str, folder: str, end: str) -> str:
    return f"ipc://{Path(folder) / end}" if transport == "ipc" else "tcp://127.0.0.1:*"


def _libzmq() -> str:
    return zmq.zmq_version()


if __name__ == "__main__":
    sys.exit(main())
