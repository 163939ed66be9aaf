"""What people cost the gateway who only listen and are quiet: processor time for every frame, memory for every session.

A crowd of clients sends silence on schedule to a suite that was started by the caller; nobody ever says a word.
"""

import asyncio
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from launcher.bench.suite import Suite, running_suite
from launcher.load.bench import Load
from launcher.load.job import Job
from launcher.load.options import SCRIPTED, STAGES
from launcher.load.schedule import Schedule, Visit
from launcher.load.usage import Usage, usage

CONNECT_S: Final = 60.0
# Until the first chunks of everybody have come, and before the last.
SETTLE_S: Final = 1.0
SPARE: Final = 16
# Sessions that are there before memory is looked at: what the first of a kind take is no price of a session.
FIRST: Final = 50
SAMPLES_A_SECOND: Final = 200
SHOWN: Final = 10


def suite_for(sessions: int) -> AbstractContextManager[Suite]:
    """Return a suite with a real vad and scripted services, with places for so many *sessions*."""
    room = str(sessions + SPARE)
    flags = {"gateway": ["--max_sessions", room, "--log_level", "warning"]}
    flags |= {stage: ["--capacity", room, "--log_level", "warning"] for stage in STAGES}
    return running_suite(engines=SCRIPTED, flags=flags)


async def cpu_ms(suite: Suite, protocol: str, chunk_ms: int, sessions: int, seconds: float) -> float:
    """Return the gateway's processor time for a second of one session, in ms."""
    load = Load([_job(suite, protocol, chunk_ms, sessions, seconds)])
    try:
        await _streaming(load)
        before = _used(suite)
        began_s = asyncio.get_running_loop().time()
        await asyncio.sleep(seconds)
        spent_s = _used(suite).cpu_s - before.cpu_s
        return spent_s * 1000 / (asyncio.get_running_loop().time() - began_s) / sessions
    finally:
        await load.stop()


async def profile(suite: Suite, protocol: str, chunk_ms: int, sessions: int, seconds: float) -> tuple[str, ...]:
    """Return in which functions the gateway is while frames come, the most frequent first, by py-spy; or why not."""
    spy = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if spy is None:
        return ("not installed: pip install py-spy",)
    load = Load([_job(suite, protocol, chunk_ms, sessions, seconds)])
    try:
        await _streaming(load)
        with tempfile.TemporaryDirectory(prefix="s2s-") as folder:
            file = Path(folder) / "stacks"
            command = [spy, "record", "--format", "raw", "--function", "--gil", "--rate", str(SAMPLES_A_SECOND)]
            command += ["--duration", str(max(1, round(seconds))), "--output", str(file)]
            command += ["--pid", str(suite.processes["gateway"].pid)]
            done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
            if done.returncode or not file.exists():
                said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
                return (f"py-spy could not look: {said[-1]}",)
            return hottest(file.read_text())
    finally:
        await load.stop()


def hottest(stacks: str) -> tuple[str, ...]:
    """Return the functions at the top of *stacks* (lines of `outer;inner count`) with their share of all samples."""
    counts: Counter[str] = Counter()
    for line in stacks.splitlines():
        stack, _, times = line.rpartition(" ")
        if times.isdigit():
            counts[stack.rpartition(";")[2]] += int(times)
    total = counts.total()
    return tuple(f"{times / total:5.0%}  {where}" for where, times in counts.most_common(SHOWN)) or ("no samples",)


async def memory_kb(suite: Suite, sessions: int) -> float:
    """Return what the gateway holds for each of so many Realtime *sessions* that send nothing, in kB."""
    loads: list[Load] = []

    async def joined(count: int) -> Usage:
        loads.append(Load([_job(suite, "realtime", 40, count, 60.0)]))
        await loads[-1].hear("connected", CONNECT_S)
        await asyncio.sleep(SETTLE_S)
        return _used(suite)

    try:
        before = await joined(FIRST)
        return ((await joined(sessions)).memory - before.memory) / sessions / 1024
    finally:
        for load in loads:
            await load.stop()


def _job(suite: Suite, protocol: str, chunk_ms: int, sessions: int, seconds: float) -> Job:
    length_ms = round((seconds + 3 * SETTLE_S) * 1000)
    # Microphones do not tick together.
    visits = tuple(Visit(seat, 0, seat * chunk_ms // sessions, length_ms, ()) for seat in range(sessions))
    port = f"{suite.recv_port}:{suite.send_port}" if protocol == "socket" else suite.ws_port
    return Job(
        kind=protocol,
        target=f"127.0.0.1:{port}",
        bind="",
        schedule=Schedule(sessions, length_ms, chunk_ms, visits),
        phrases=(),
        patience_s=0.0,
        run="",
    )


async def _streaming(load: Load) -> None:
    await load.hear("connected", CONNECT_S)
    load.go()
    await asyncio.sleep(SETTLE_S)


def _used(suite: Suite) -> Usage:
    found = usage(suite.processes["gateway"].pid)
    if found is None:
        raise RuntimeError(f"the gateway has ended\n{suite.log_tail()}")
    return found
