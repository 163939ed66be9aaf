"""Looks for what leaks: `python -m launcher.bench.soak --minutes 5`.

People of every protocol come, talk, interrupt, are cut off and go, for as long as asked, while services are replaced.
Then nothing may be left of them: no session, no place, no lease; tasks and file descriptors as at the start; memory
that does not grow, by a line through what each process held (`launcher.bench.slope` says how much is noise).
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil

from launcher.bench.machine import describe
from launcher.bench.replacing import ROLES, Replacer
from launcher.bench.slope import Slope
from launcher.bench.suite import Suite, SuiteError, free_port, running_suite
from launcher.load import scrape, speech
from launcher.load.bench import Load
from launcher.load.findings import Findings
from launcher.load.job import Job
from launcher.load.schedule import Habits, plan
from launcher.load.usage import usage

PROTOCOLS: Final = ("realtime", "websocket", "socket")
HABITS: Final = Habits(pause_ms=4000, barge_ins=0.3, disconnects=0.2)
# Everybody says goodbye and comes again after so long.
ROUND_S: Final = 30.0
WARM_UP_S: Final = 12.0
CHUNK_MS: Final = 40
# For answers that come when nobody speaks any more, and for generators to connect.
PATIENCE_S: Final = 10.0
CONNECT_S: Final = 60.0
LOOK_EVERY_S: Final = 1.0
# A connection to a service that is gone is closed when nothing was sent on it for a minute (`bus.node.IDLE_PEER_S`),
# which is looked at when the next is due.
SETTLE_S: Final = 150.0
# Beyond what the gateway gives a connection to be closed (5 s).
QUIET_S: Final = 8.0
# Of the turns, with services killed meanwhile.
LEAST_ANSWERED: Final = 0.95
# Of people in one place at a time, those who come back before they are missed included.
PLACES: Final = 4
REPORT: Final = Path("build/soak.json")


@dataclass(slots=True)
class Held:
    """What a process holds: tasks of its loop, and open files and sockets."""

    tasks: int
    descriptors: int


@dataclass(slots=True)
class Lasting:
    """A process that runs from the beginning to the end."""

    start: Held
    end: Held
    memory: Slope | None


@dataclass(slots=True)
class Report:
    """What a soak found. *wrong* is empty if nothing leaks."""

    machine: str
    minutes: float
    sessions: int
    rounds: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    broken: dict[str, int] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)
    replaced: dict[str, int] = field(default_factory=dict)
    left: dict[str, int] = field(default_factory=dict)
    processes: dict[str, Lasting] = field(default_factory=dict)
    settled_s: float = 0.0
    wrong: list[str] = field(default_factory=list)

    def judge(self) -> None:
        """Write into `wrong` what must not be."""
        self.wrong += [f"{count} {what} left" for what, count in self.left.items() if count]
        self.wrong += [f"{promise}: {count} times" for promise, count in self.broken.items()]
        turns, answered = self.counts.get("turns", 0), self.counts.get("answered", 0)
        if answered < LEAST_ANSWERED * turns or not turns:
            self.wrong.append(f"{answered} of {turns} turns answered")
        for name, process in self.processes.items():
            for what, before in asdict(process.start).items():
                after = getattr(process.end, what)
                if after > before:
                    self.wrong.append(f"{name}: {after} {what}, {before} at the start")
            if process.memory is not None and not process.memory.is_noise:
                self.wrong.append(f"{name}: memory grew by {process.memory.grown_mb:.1f} MB")

    def lines(self) -> Iterator[str]:
        """Yield what a person reads."""
        counts = self.counts
        yield self.machine
        yield f"{self.minutes:g} minutes, {self.sessions} people of {len(PROTOCOLS)} protocols, {self.rounds} rounds"
        yield (
            f"  {counts.get('opened', 0)} connections, {counts.get('hung_up', 0)} of them cut off; "
            f"{counts.get('turns', 0)} turns, {counts.get('answered', 0)} answered, "
            f"{counts.get('barge_ins', 0)} interruptions"
        )
        yield from (f"  went wrong {count}x: {reason}" for reason, count in self.errors.items())
        yield "  replaced: " + (", ".join(f"{what} {count}x" for what, count in self.replaced.items()) or "nobody")
        yield "  left: " + ", ".join(f"{count} {what}" for what, count in self.left.items())
        if not self.wrong:
            yield f"  as at the start {self.settled_s:.0f} s after the last goodbye"
        yield f"  {'process':10}{'tasks':>12}{'descriptors':>14}{'MB':>10}{'MB/minute':>12}{'grown, noise MB':>18}"
        for name, process in self.processes.items():
            held = f"{process.start.tasks} -> {process.end.tasks}"
            files = f"{process.start.descriptors} -> {process.end.descriptors}"
            line = process.memory
            told = (
                f"{line.mean_mb:10.1f}{line.mb_per_minute:12.2f}{line.grown_mb:10.2f}, {line.allowed_mb:.2f}"
                if line is not None
                else "   too short for a line"
            )
            yield f"  {name:10}{held:>12}{files:>14}{told}"
        yield from (f"WRONG: {what}" for what in self.wrong)
        yield "nothing leaks" if not self.wrong else "FAILED"


class Soak:
    """One run against *suite*; *metrics* are the addresses of those processes that stay."""

    def __init__(self, suite: Suite, metrics: dict[str, str], report: Report, every_s: float) -> None:
        self._suite = suite
        self._metrics = metrics
        self._report = report
        self._every_s = every_s
        self._replacer = Replacer(suite)
        self._memory: dict[str, list[tuple[float, float]]] = {name: [] for name in metrics}
        self._phrases = speech.phrases("babble")

    async def run(self) -> None:
        """Do it; write what was found into the report."""
        report = self._report
        await self._replacer.begin()
        await self._round(0, WARM_UP_S)
        await self._everybody_left()
        start = await self._quiet()
        ends_s = time.monotonic() + report.minutes * 60
        over = asyncio.Event()
        found = Findings()
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(self._watch())
            replacing = tasks.create_task(self._replacer.run(self._every_s, over))
            while (left_s := ends_s - time.monotonic()) > WARM_UP_S or not report.rounds:
                report.rounds += 1
                found.add(await self._round(report.rounds, min(ROUND_S, max(left_s - 3.0, 5.0))))
                print(f"round {report.rounds}: {found.counts['answered']} of {found.counts['turns']} turns", flush=True)
            over.set()
            await replacing
            watching.cancel()
        left_s = time.monotonic()
        await self._everybody_left()
        end = await self._settled(start)
        report.settled_s = time.monotonic() - left_s
        report.counts, report.errors = dict(found.counts), dict(found.errors)
        report.broken, report.examples = dict(found.broken), found.examples
        report.replaced, report.wrong = dict(self._replacer.counts), list(self._replacer.wrong)
        report.left = self._left()
        report.processes = {
            name: Lasting(start[name], end[name], Slope.through(self._memory[name])) for name in self._metrics
        }
        report.judge()

    async def _round(self, number: int, seconds: float) -> Findings:
        """Have people of every protocol talk for so long, and say goodbye."""
        load = Load([self._job(protocol, number, seconds) for protocol in PROTOCOLS])
        try:
            await load.hear("connected", CONNECT_S)
            load.go()
            await load.hear("spoken", seconds + CONNECT_S)
            return await load.hear("found", PATIENCE_S + CONNECT_S)
        finally:
            await load.stop()

    def _job(self, protocol: str, number: int, seconds: float) -> Job:
        suite, seats = self._suite, self._report.sessions // len(PROTOCOLS)
        address = f"127.0.0.1:{suite.ws_port}"
        if protocol == "socket":
            address = f"127.0.0.1:{suite.recv_port}:{suite.send_port}"
        lengths = [phrase.ms for phrase in self._phrases]
        schedule = plan(number, seats, round(seconds * 1000), lengths, HABITS, chunk_ms=CHUNK_MS)
        return Job(protocol, address, "", schedule, self._phrases, PATIENCE_S, f"soak-{number}")

    async def _watch(self) -> None:
        """Note for ever what memory the processes hold."""
        while True:
            for name, samples in self._memory.items():
                used = usage(self._suite.processes[name].pid)
                if used is not None:
                    samples.append((time.monotonic(), used.memory))
            await asyncio.sleep(LOOK_EVERY_S)

    async def _held(self) -> dict[str, Held]:
        found = {}
        for name, url in self._metrics.items():
            sample = await asyncio.to_thread(scrape.look, url)
            if sample is None:
                raise SuiteError(f"{name} says nothing at {url}")
            descriptors = psutil.Process(self._suite.processes[name].pid).num_fds()
            found[name] = Held(int(sample.values["speech_tasks"]), descriptors)
        return found

    async def _quiet(self) -> dict[str, Held]:
        """Return what is held when it has not changed for a while: connections that were cut off linger."""
        held, since_s = await self._held(), time.monotonic()
        due_s = since_s + SETTLE_S
        while time.monotonic() < min(since_s + QUIET_S, due_s):
            await asyncio.sleep(LOOK_EVERY_S)
            before, held = held, await self._held()
            since_s = since_s if held == before else time.monotonic()
        return held

    async def _settled(self, start: dict[str, Held]) -> dict[str, Held]:
        """Return what is held as soon as it is no more than at the *start*, or what still is after a while."""
        due_s = time.monotonic() + SETTLE_S
        while True:
            held = await self._held()
            more = any(
                held[name].tasks > start[name].tasks or held[name].descriptors > start[name].descriptors
                for name in held
            )
            if not more or time.monotonic() > due_s:
                return held
            await asyncio.sleep(LOOK_EVERY_S)

    async def _everybody_left(self) -> None:
        """Wait until nothing is left of any session; the report says what is, if that takes too long."""
        due_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < due_s:
            if not any((await asyncio.to_thread(self._left)).values()):
                return
            await asyncio.sleep(LOOK_EVERY_S)

    def _left(self) -> dict[str, int]:
        health: dict[str, Any] = self._suite.health()
        services = health.get("services", ())
        return {
            "sessions": int(health.get("sessions", -1)),
            "places": sum(one["places"] for one in services),
            "leases": sum(one["leases"] for one in services),
        }


def soak(minutes: float, sessions: int, every_s: float, engines: dict[str, str]) -> Report:
    """Return what a soak found.

    Raises:
        SuiteError: a process of the suite did not do what it should.
    """
    report = Report(describe("pyzmq", "uvloop"), minutes, sessions)
    ports = {part: free_port() for part in ("gateway", *ROLES)}
    capacity = str(sessions * PLACES)
    flags = {part: ["--health_port", str(port), "--log_level", "warning"] for part, port in ports.items()}
    flags["gateway"] += ["--max_sessions", capacity]
    for role in ROLES:
        flags[role] += ["--capacity", capacity]
    with running_suite(engines=engines, flags=flags) as suite:
        metrics = {part: f"http://127.0.0.1:{port}" for part, port in ports.items()}
        asyncio.run(Soak(suite, metrics, report, every_s).run())
    return report


def main(args: list[str] | None = None) -> int:
    """Soak, print, save; exit status 1 if something leaks."""
    parser = argparse.ArgumentParser(prog="python -m launcher.bench.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5.0, help="how long people come and go (default: 5)")
    parser.add_argument("--sessions", type=int, default=18, help="people at a time, of all protocols (default: 18)")
    parser.add_argument("--replace_every_s", type=float, default=12.0, help="a service is replaced (default: 12)")
    parser.add_argument("--vad", default="silero", help="engine of the vad service (default: silero)")
    parser.add_argument("--json", type=Path, default=REPORT, help=f"where to keep the report (default: {REPORT})")
    told = parser.parse_args(args)
    report = soak(told.minutes, max(told.sessions, len(PROTOCOLS)), told.replace_every_s, {"vad": told.vad})
    told.json.parent.mkdir(parents=True, exist_ok=True)
    told.json.write_text(json.dumps(asdict(report), indent=1) + "\n")
    for line in report.lines():
        print(line)
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
