"""Many Realtime sessions with live audio at once: `python -m launcher.bench.realtime --sessions 100 --seconds 30`.

A real gateway and a real vad (Silero, or another with `--vad`) with scripted asr, llm and tts that answer at once.
Every client streams 24 kHz pcm in appends of 40 ms all the time and speaks every 7 s; clients begin one after another.

Own latency is that of the design, as seen from the client: from the sending of the append whose samples complete the
silence that ends the turn to the first byte of the answer. The clients run on the same processors: how late they were
themselves is printed, and the latencies count for nothing where that is much.
"""

import argparse
import json
import multiprocessing
import sys
import urllib.request
from base64 import b64encode
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import soxr

from launcher.bench.machine import describe
from launcher.bench.realtime_load import TEXT, TICK_MS, TURN_MS, Findings, Script, frame, run
from launcher.bench.suite import Suite, free_port, running_suite
from launcher.bench.usage import Usage, usage
from services.tts.engines.espeak_ng import Engine, Settings

RATE: Final = 24_000
TICK_SAMPLES: Final = RATE * TICK_MS // 1000
# Said without a pause, 1 to 2 s each.
PHRASES: Final = (
    "what is the time in London now",
    "tell me something about the sea",
    "how long does the journey take",
    "please play some music for me",
    "where did I leave my keys today",
)
# Full scale is 32 768; what is quieter than this at the ends is no speech.
LOUD: Final = 500
# Clients later than this (p99) cannot tell how late the suite was.
MAX_LAG_MS: Final = 20.0
# What the design asks for, and what it aims at.
LATENCY_P95_MS: Final = 100
CPU_MS, AIM_CPU_MS = 3.0, 1.0
PATIENCE_S: Final = 60.0
PARTS: Final = ("gateway", "vad", "asr", "llm", "tts")


def phrases() -> list[list[bytes]]:
    """Return every phrase as frames, one a tick."""
    engine = Engine(Settings())
    engine.load()
    made = []
    for text in PHRASES:
        samples = np.frombuffer(b"".join(engine.synthesize(text, "", "", 1.0)), np.int16)
        samples = soxr.resample(samples, engine.sample_rate, RATE)
        loud = np.flatnonzero(np.abs(samples.astype(np.int32)) > LOUD)
        spoken = samples[loud[0] : loud[-1] + 1]
        whole = np.pad(spoken, (0, -len(spoken) % TICK_SAMPLES)).astype("<i2")
        made.append([append(tick.tobytes()) for tick in whole.reshape(-1, TICK_SAMPLES)])
    return made


def append(pcm: bytes) -> bytes:
    """Return a WebSocket frame that appends *pcm*."""
    return frame(TEXT, b'{"type":"input_audio_buffer.append","audio":"' + b64encode(pcm) + b'"}')


def measure(suite: Suite, sessions: int, script: Script, generators: int) -> tuple[Findings, dict[str, list[Usage]]]:
    """Hold the sessions; return what the clients saw, and what each process used: idle, at the beginning, at the end.

    Raises:
        TimeoutError: a generator did not do its part in time.
    """
    used = {part: [usage(suite.processes[part].pid)] for part in PARTS}
    load = Load(suite.ws_port, sessions, script, generators)

    def sample() -> None:
        for part in PARTS:
            used[part].append(usage(suite.processes[part].pid))

    findings = Findings()
    try:
        load.hear(PATIENCE_S)
        sample()
        load.say("go")
        load.hear(script.ticks * TICK_MS / 1000 + PATIENCE_S)
        sample()
        for found in load.hear(PATIENCE_S):
            findings.add(found)
    finally:
        load.stop()
    return findings, used


class Load:
    """The processes that the clients run in."""

    def __init__(self, port: int, sessions: int, script: Script, generators: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipes, self._processes = [], []
        for place in range(generators):
            ours, theirs = context.Pipe()
            numbers = range(place, sessions, generators)
            process = context.Process(target=run, args=(theirs, port, numbers, sessions, script), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    def say(self, word: str) -> None:
        """Let all go on."""
        for pipe in self._pipes:
            pipe.send(word)

    def hear(self, seconds: float) -> list[Any]:
        """Return what each says next.

        Raises:
            TimeoutError: one says nothing.
        """
        said = []
        for pipe in self._pipes:
            if not pipe.poll(seconds):
                raise TimeoutError("a load generator says nothing")
            said.append(pipe.recv())
        return said

    def stop(self) -> None:
        """End those that have not ended by themselves."""
        for process in self._processes:
            process.join(1.0)
            process.kill()


def waterfall(port: int) -> str:
    """Return the gateway's own account of where the time of turns went, mean by stage in ms."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as response:
        lines = response.read().decode().splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if line.startswith("speech_turn_"))
    shown = []
    for key, total in values.items():
        name, bracket, label = key.partition("_sum")
        count = float(values.get(f"{name}_count{label}", 0))
        if bracket and count:
            stage = label.partition('"')[2].rstrip('"}') or "all"
            shown.append(f"{stage} {float(total) / count * 1000:.1f}")
    return ", ".join(shown)


def warnings(log: Path) -> str:
    """Return which warnings and errors the suite logged, and how often."""
    lines = (json.loads(line) for line in log.read_text().splitlines() if line.startswith("{"))
    events = Counter(line.get("event", "") for line in lines if line.get("level") not in ("info", "debug"))
    return ", ".join(f"{event} ({times})" for event, times in events.most_common())


def spread(values: Sequence[float]) -> str:
    """Return the distribution of *values* in words."""
    if not values:
        return "nothing measured"
    p50, p95, p99 = np.percentile(values, (50, 95, 99))
    return f"p50 {p50:.1f}   p95 {p95:.1f}   p99 {p99:.1f}   most {max(values):.1f} ms"


def report(found: Findings, used: dict[str, list[Usage]], sessions: int, seconds: float) -> None:
    """Print everything."""
    lost = found.expected - found.answered
    print(f"  turns        {found.expected} expected, {found.answered} answered, {lost} lost, {found.more} split")
    print(f"  own latency  {spread(found.latencies)}   (asked for: p95 at most {LATENCY_P95_MS} ms)")
    print(f"   from window {spread(found.window_latencies)}   (without the wait for the append that fills it)")
    print(f"  generator    lag {spread(found.lags)}; {found.cpu_ms / sessions / seconds:.2f} ms CPU per session-second")
    for part, (idle, begin, end) in used.items():
        each = (end.cpu_ms - begin.cpu_ms) / sessions / seconds
        asked = f"   (asked for: {CPU_MS:g} ms, aim {AIM_CPU_MS:g} ms)" if part in ("gateway", "vad") else ""
        memory = f"{(begin.rss - idle.rss) / sessions / 1024:5.0f} kB/session idle"
        memory += f", {(end.rss - idle.rss) / sessions / 1024:.0f} kB at the end"
        print(f"  {part:12} {each:.2f} ms CPU per session-second, {memory}{asked}")
    for error in found.errors:
        print(f"  {error}")
    if found.cut:
        print(f"  {found.cut} connections ended by themselves")
    if found.lags and np.percentile(found.lags, 99) > MAX_LAG_MS:
        print(
            f"  VOID: the clients themselves were later than {MAX_LAG_MS:g} ms (p99); the latencies count for nothing"
        )


def main() -> int:
    """Measure and print; exit status 1 if a turn was lost."""
    parser = argparse.ArgumentParser(
        prog="python -m launcher.bench.realtime", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--sessions", type=int, default=100, help="sessions at a time (default: 100)")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long each streams (default: 30)")
    parser.add_argument("--vad", default="silero", help="engine of the vad service (default: silero)")
    parser.add_argument("--generators", type=int, default=1, help="processes that the clients run in (default: 1)")
    options = parser.parse_args()
    script = Script(phrases(), append(bytes(2 * TICK_SAMPLES)), int(options.seconds * 1000 / TICK_MS))
    room = str(options.sessions + 16)
    health_port = free_port()
    flags = {part: ["--capacity", room] for part in PARTS if part != "gateway"}
    flags["gateway"] = ["--max_sessions", room, "--health_port", str(health_port)]
    print(describe("numpy", "websockets", "uvicorn"), flush=True)
    print(
        f"{options.sessions} sessions for {options.seconds:g} s, a turn every {TURN_MS / 1000:g} s, vad {options.vad}"
    )
    with running_suite(engines={"vad": options.vad}, flags=flags) as suite:
        found, used = measure(suite, options.sessions, script, options.generators)
        stages = waterfall(health_port)
        warned = warnings(suite.log)
    report(found, used, options.sessions, options.seconds)
    print(f"  by the gateway, mean ms: {stages}")
    if warned:
        print(f"  logged: {warned}")
    return 0 if found.answered == found.expected and not found.cut else 1


if __name__ == "__main__":
    sys.exit(main())
