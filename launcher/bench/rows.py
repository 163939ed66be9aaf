"""The rows of `make bench`: what is promised, and how each is measured with the benchmarks of this project."""

import asyncio
import random
import signal
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Final

from bus.errors import ConfigurationError
from launcher.bench import barge_in, bus, floor, random_whisper, streams, vad, whisper
from launcher.bench.row import Line, Note, Row, Scale, Target
from launcher.bench.suite import running_suite
from launcher.chaos import trial
from launcher.chaos.figures import Count
from launcher.chaos.harm import Harming
from launcher.chaos.stage import Stage, on_stage
from launcher.chaos.trials import DRAINED_S
from launcher.load import objective, speech
from launcher.load.bench import Bench
from launcher.load.options import EMBEDDED, Options, parse
from launcher.load.progress import Progress
from launcher.load.report import Step
from launcher.load.speech import Phrase

# -- the bus -----------------------------------------------------------------------------------------------------------

HOP: Final = {
    transport: Target(f"bus, a hop over {transport}: latency against bare pyzmq", "x", 2, 1.3)
    for transport in bus.TRANSPORTS
}
RATE: Final = {
    transport: Target(f"bus, a hop over {transport}: messages/s against bare pyzmq", "x", 0.5, 0.8, more=True)
    for transport in bus.TRANSPORTS
}
WITH_CODEC: Final = "bare with protobuf"


def hops(scale: Scale) -> Iterator[Line]:
    """Measure the bus against bare pyzmq with ready bytes; the remarks tell of one that makes and parses frames too."""
    found = bus.hops(int(scale.of(9, 2)))
    for transport in bus.TRANSPORTS:
        slower, share = bus.ratios(found, transport, "bare")
        slower_too, share_too = bus.ratios(found, transport, "bare+codec")
        p50_us = median(hop.p50_us for hop in found[transport, "suite"])
        rate = median(hop.per_second for hop in found[transport, "suite"])
        remark = f"{p50_us:.0f} µs; {slower_too:.2f} x {WITH_CODEC}"
        yield Line(HOP[transport], slower, remark, 1.0, "bare pyzmq")
        remark = f"{rate:,.0f}/s; {share_too:.2f} x {WITH_CODEC}"
        yield Line(RATE[transport], share, remark, 1.0, "bare pyzmq")


# -- own latency, sessions, processor time of a session ----------------------------------------------------------------

ALONE_P50: Final = Target("own latency, 1 session, p50", "ms", 15, 5)
ALONE_P99: Final = Target("own latency, 1 session, p99", "ms", 40, 15)
SESSIONS: Final = Target("live sessions with p95 own latency ≤ 100 ms, none lost", "", 200, 1000, more=True)
GATEWAY_CPU: Final = Target("gateway CPU per session-second", "ms", 3, 1)
VAD_CPU: Final = Target("vad CPU per session-second", "ms", 3, 1)
NETWORK: Final = "the network called directly"
# From the gateway to the vad, asr, gateway, llm, tts and gateway.
HOPS: Final = 6
ANSWER: Final = "All right."
CROWDS: Final = (8, 64, 100, 200)
# Beyond: until one does not fit.
FULL: Final = (300, 400, 500, 700, 1000)
# A turn of one who is alone: said quickly, answered shortly, asked again when the answer is over.
ALONE_PAUSE_S: Final = 1.8
# Sessions from which the vad's price counts: its steps are batches.
MANY: Final = 100


def alone(scale: Scale) -> Iterator[Line]:
    """Measure the own latency of a single session with scripted engines."""
    options = _options(scale.of(36, 6), "--pause_s", str(ALONE_PAUSE_S), "--", f"--llm_reply={ANSWER}")
    word = Phrase("yes please", speech.trimmed(barge_in.spoken("yes please"), "yes please"))
    (step,) = _climb(options, (1,), (word,))
    latency = step.times.get("latency")
    if latency is None:
        raise RuntimeError(f"nothing was answered: {step.errors}")
    if void := objective.void(step):
        raise RuntimeError(void)
    remark = f"n {latency.n}, most {latency.most:.1f} ms"
    if step.lost:
        remark += f", {step.lost} of {step.turns} turns LOST"
    limit = HOPS * floor.bare_hop_ms() + floor.window_ms()
    yield Line(ALONE_P50, latency.p50, remark, limit, f"({HOPS} bare hops + 1 window)")
    yield Line(ALONE_P99, latency.p99, remark, limit, f"({HOPS} bare hops + 1 window)")


def crowds(scale: Scale) -> Iterator[Line]:
    """Measure the own latency of more and more Realtime sessions, and what they cost gateway and vad."""
    counts = (2,) if scale.quick else CROWDS + (FULL if scale.full else ())
    steps = _climb(_options(scale.of(10, 6)), counts, speech.phrases(speech.KINDS[0]))
    good = 0
    why = f"no more were tried{'' if scale.full else '; --full tries more'}"
    for step in steps:
        wrong = _wrong(step)
        latency = step.times.get("latency")
        remark = f"p50 {latency.p50:.1f}, p99 {latency.p99:.1f} ms, n {latency.n}" if latency else "nothing answered"
        gateway, detector = (step.processes[name].cpu_ms_per_session_s for name in ("gateway", "vad"))
        remark += f"; CPU gateway {gateway:.1f}, vad {detector:.1f} ms/session-s{f'; {wrong}' if wrong else ''}"
        if step.stutters > objective.STUTTERS:
            remark += f"; {step.stutters:.1%} of the pieces late"
        yield Line(
            Target(f"own latency, {step.sessions} sessions, p95", "ms"), latency.p95 if latency else None, remark
        )
        if wrong:
            why = f"with {step.sessions}: {wrong}"
        else:
            good = step.sessions
    yield Line(SESSIONS, good, why)
    step = next((one for one in reversed(steps) if not _wrong(one)), steps[-1])
    remark = f"{step.sessions} sessions"
    appends = 1000 / 40
    yield Line(
        GATEWAY_CPU,
        step.processes["gateway"].cpu_ms_per_session_s,
        remark,
        appends * floor.frame_us("realtime", 40) / 1000,
        "bare libraries, input only",
    )
    if step.sessions < MANY and not scale.quick:
        yield Line(VAD_CPU, remark=f"only {remark} within the objective; {MANY} are needed")
        return
    least_ms = floor.WINDOWS_A_SECOND * floor.window_ms(64)
    yield Line(VAD_CPU, step.processes["vad"].cpu_ms_per_session_s, remark, least_ms, f"{NETWORK}, 64 at a time")


def _options(seconds: float, *more: str) -> Options:
    # Late pieces are told, but the sessions that are promised are those of the design: p95 and no turn lost.
    args = ["gateway", "--seconds", str(seconds), "--barge_ins", "0", "--patience_s", "3"]
    return parse([*args, "--stutters", "100", *more])


def _climb(options: Options, counts: tuple[int, ...], phrases: tuple[Phrase, ...]) -> list[Step]:
    """Return the steps with *counts* sessions on one suite; beyond those of `CROWDS` only until one goes wrong."""

    async def climb() -> list[Step]:
        steps: list[Step] = []
        async with Bench(replace(options, ramp=counts), phrases, Progress()) as bench:
            for sessions in counts:
                steps.append(await bench.measure(sessions))
                if sessions >= CROWDS[-1] and _wrong(steps[-1]):
                    break
        return steps

    return asyncio.run(climb())


def _wrong(step: Step) -> str:
    return objective.void(step) or "; ".join(step.missed)


# -- the gateway, frame by frame; memory -------------------------------------------------------------------------------

FRAME: Final = {
    (protocol, chunk_ms): Target(f"gateway CPU for a frame of {chunk_ms} ms, {protocol}", "µs")
    for protocol in ("socket", "websocket", "realtime", "realtime-pcmu")
    for chunk_ms in (20, 40)
}
MEMORY: Final = Target("gateway memory per idle session", "kB", 1000, 200)
PROFILED: Final = ("realtime", 20)


def frames(scale: Scale) -> Iterator[Line | Note]:
    """Measure what a frame of every kind costs the gateway, and where that goes."""
    sessions, seconds = int(scale.of(50, 3)), scale.of(2.5, 0.5)
    with streams.suite_for(sessions) as suite:
        for (protocol, chunk_ms), target in FRAME.items():
            spent_ms = asyncio.run(streams.cpu_ms(suite, protocol, chunk_ms, sessions, seconds))
            yield Line(
                target,
                spent_ms * chunk_ms,  # of a second in ms, times the part of a second, times 1000
                f"{spent_ms:.2f} ms/session-s, {sessions} sessions",
                floor.frame_us(protocol, chunk_ms),
                "bare libraries",
            )
        hottest = asyncio.run(streams.profile(suite, *PROFILED, sessions, scale.of(6, 1)))
        protocol, chunk_ms = PROFILED
        title = (
            f"where the gateway's time goes: {sessions} sessions, {protocol}, {chunk_ms} ms (py-spy; C with its caller)"
        )
        yield Note(title, hottest)


def memory(scale: Scale) -> Iterator[Line]:
    """Measure what the gateway holds for a session that is idle."""
    sessions = int(scale.of(200, 10))
    with streams.suite_for(sessions + streams.FIRST) as suite:
        held_kb = asyncio.run(streams.memory_kb(suite, sessions))
    yield Line(MEMORY, held_kb, f"{sessions} Realtime sessions beyond {streams.FIRST}")


# -- engines -----------------------------------------------------------------------------------------------------------

WINDOWS: Final = {batch: Target(f"vad windows/s on a core, Silero, {batch} at a time", "/s") for batch in vad.BATCHES}
WHISPER: Final = {
    variant: Target(f"ASR CPU per utterance: {variant.name}", "ms")
    for variant in (whisper.Variant(), whisper.Variant(1), whisper.Variant(8), whisper.Variant(8, whisper.CUT_S))
}


def windows(scale: Scale) -> Iterator[Line | Note]:
    """Measure the vad's engine against its network, called directly; the remark has ONNX Runtime, if it is here."""
    rows, missing = vad.rows_of(1, "cpu")
    best = vad.measure(rows, vad.BATCHES, int(scale.of(5, 1)))
    for batch, target in WINDOWS.items():
        if rate := best.get((vad.ENGINE, batch)):
            in_onnx = best.get((vad.ONNX, batch))
            remark = f"{rate / in_onnx:.2f} x {vad.ONNX}" if in_onnx else ""
            yield Line(target, rate, remark, best[vad.NETWORK, batch], NETWORK)
    others = [name for name in rows if name not in (vad.ENGINE, vad.NETWORK)]
    shown = [f"{name}: " + ", ".join(f"{best[name, batch]:,.0f} ({batch})" for batch in vad.BATCHES) for name in others]
    if shown or missing:
        yield Note("other vad engines, windows/s (at a time)", (*shown, *(f"not measured: {why}" for why in missing)))


def batching(scale: Scale) -> Iterator[Line]:
    """Measure what batches save of Whisper's processor time, with random weights of the size "tiny"."""
    if lacks := whisper.missing(whisper.TOKENIZER):
        raise ConfigurationError(lacks)
    size = "nano" if scale.quick else "tiny"
    with tempfile.TemporaryDirectory(prefix="random-whisper-") as kept:
        whole = random_whisper.build(size, whisper.TOKENIZER, Path(kept) / "weights")
        folder = random_whisper.convert(whole, Path(kept) / size)
        subject = whisper.Subject(folder, beam_size=5, tokens=int(scale.of(16, 4)), threads=1)
        found = whisper.measure(subject, 1, lambda _: None, tuple(WHISPER))
    for variant, target in WHISPER.items():
        alone_ms = found[whisper.Variant()] * 1000
        yield Line(target, found[variant] * 1000, f"Whisper {size}, int8", alone_ms, "transcribe, one by one")


# -- interruptions, kills, replacements, starts ------------------------------------------------------------------------

BARGE_IN: Final = Target("barge-in: onset to the last byte of the old answer", "ms", 150, 64)
ENDLESS: Final = Target("kill -9 under load: turns without an end", "", 0, 0)
BROKEN: Final = Target("kill -9 under load: other promises broken", "", 0, 0)
ANSWERED: Final = Target("kill -9 under load, 2 replicas: turns answered", "%", None, 95, more=True)
FAILED: Final = Target("every service replaced under load: failed turns", "", 0, 0)
START: Final = Target("start to ready, embedded engines, processes", "s", None, 8)
DOCKER: Final = Target("docker compose up to ready, images built", "s", 20, 8)
# One window has to be heard whole before anybody can know that it is speech.
WINDOW_MS: Final = 1000 / floor.WINDOWS_A_SECOND
CALM_S: Final = 3.0


def interruptions(scale: Scale) -> Iterator[Line]:
    """Measure how soon the voice is silent; the worst round counts."""
    with running_suite(engines={"vad": "silero"}, flags={"llm": ["--words", "300"]}) as suite:
        found = asyncio.run(barge_in.measure(suite.ws_port, int(scale.of(12, 1)), at_once=4))
    remark = f"the most of {len(found)}; p50 {median(found):.0f} ms"
    yield Line(BARGE_IN, max(found), remark, WINDOW_MS, "a window of 32 ms")


def kills(scale: Scale) -> Iterator[Line]:
    """Kill random services of two replicas each, while people of every protocol talk."""
    options = trial.Options(int(scale.of(16, 3)), scale.of(20, 6), scale.of(4, 3))

    async def act(stage: Stage, people: trial.Crowd, verdict: trial.Verdict) -> str:
        harming = Harming(stage, random.Random(options.seed), lambda _: None)
        await harming.run(options.every_s, options.seconds)
        over_s = asyncio.get_running_loop().time()
        stuck = await people.answered_once_more(over_s, options.deadline_s)
        verdict.must(not stuck, f"stuck: {', '.join(stuck)}")
        killed = sum(harm.deed.startswith("kill") for harm in harming.harms)
        return f"{killed} killed, {len(harming.harms) - killed} paused, {options.sessions} sessions"

    told, count, failures = _tried(2, options, act)
    yield Line(ENDLESS, count.overdue, f"of {count.turns}; {told}")
    yield Line(BROKEN, len(failures), "; ".join(failures)[:200])
    yield Line(ANSWERED, 100 * count.share, f"silence p95 {count.silence_s(0.95):.1f} s")


def replacements(scale: Scale) -> Iterator[Line]:
    """Start another service of every role and drain the first, while people talk."""
    options = trial.Options(int(scale.of(16, 3)))

    async def act(stage: Stage, people: trial.Crowd, verdict: trial.Verdict) -> str:
        loop = asyncio.get_running_loop()
        names = stage.names
        for name in names:
            successor = stage.start_beside(name)
            await stage.ready_since(successor, loop.time())
            stage.signal(name, signal.SIGTERM)
            verdict.must(await stage.gone(name, DRAINED_S), f"{name} did not drain")
        await people.answered_once_more(loop.time(), options.deadline_s)
        return f"{len(names)} services, {options.sessions} sessions"

    told, count, failures = _tried(1, options, act)
    failed = count.turns - count.answered
    yield Line(FAILED, failed + len(failures), "; ".join([f"of {count.turns}", told, *failures])[:200])


def starts(scale: Scale) -> Iterator[Line]:
    """Measure how long five processes need until a conversation can be held; the longest counts."""
    found = []
    for _ in range(int(scale.of(2, 1))):
        began_s = time.monotonic()
        with running_suite(engines=EMBEDDED):
            found.append(time.monotonic() - began_s)
    yield Line(START, max(found), f"the most of {len(found)}: {', '.join(f'{one:.1f}' for one in found)}")


def containers(_: Scale) -> Iterator[Line]:
    """Say where it is measured: nothing here can build images."""
    yield Line(DOCKER, remark="make test-containers measures it", elsewhere=True)


Act = Callable[[Stage, trial.Crowd, trial.Verdict], Awaitable[str]]


def _tried(replicas: int, options: trial.Options, act: Act) -> tuple[str, Count, list[str]]:
    """Have *act* done to a stage while a crowd talks; return what it said, the turns, and what was wrong."""
    found: list[tuple[str, Count, list[str]]] = []

    async def on(stage: Stage) -> bool:
        verdict = trial.Verdict(lambda _: None)
        async with trial.crowd(stage, options, verdict) as people:
            await people.gather(options.sessions)
            await asyncio.sleep(CALM_S)
            begun_s = asyncio.get_running_loop().time()
            told = await act(stage, people, verdict)
        found.append((told, people.counted(begun_s), verdict.failures))
        return True

    _, log = on_stage(replicas, [], lambda _: None, on)
    if not found:
        raise RuntimeError("; ".join(["the trial did not end", *log[-2:]]))
    return found[0]


ROWS: Final = (
    Row("bus", (*HOP.values(), *RATE.values()), hops),
    Row("latency", (ALONE_P50, ALONE_P99), alone),
    Row("sessions", (SESSIONS, GATEWAY_CPU, VAD_CPU), crowds),
    Row("frames", tuple(FRAME.values()), frames),
    Row("memory", (MEMORY,), memory),
    Row("barge-in", (BARGE_IN,), interruptions),
    Row("kill", (ENDLESS, BROKEN, ANSWERED), kills),
    Row("replace", (FAILED,), replacements),
    Row("start", (START,), starts),
    Row("containers", (DOCKER,), containers),
    Row("vad", tuple(WINDOWS.values()), windows),
    Row("asr", tuple(WHISPER.values()), batching),
)
