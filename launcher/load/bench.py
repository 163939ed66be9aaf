"""One load run after another against one target: generators started, processes watched, findings put together."""

import asyncio
import multiprocessing
import time
import uuid
from contextlib import AsyncExitStack
from multiprocessing.connection import Connection
from typing import Final, Self

from launcher.errors import LauncherError
from launcher.load import generator, objective, recovery, scrape
from launcher.load.findings import Findings
from launcher.load.generator import START_S, Told
from launcher.load.job import Job
from launcher.load.options import STAGES, Options
from launcher.load.progress import Progress, Shown
from launcher.load.report import TOLD, Process, Step
from launcher.load.report import Told as ToldBy
from launcher.load.schedule import Schedule, plan
from launcher.load.speech import Phrase
from launcher.load.target import Target, opened
from launcher.load.usage import Usage, usage

CONNECT_S: Final = 120.0
WATCH_EVERY_S: Final = 0.5
_MB: Final = 1024 * 1024


class GeneratorError(LauncherError):
    """A generator process ended, or said nothing."""


class Bench:
    """Holds a target while it is loaded with one number of sessions after another. An async context manager."""

    def __init__(self, options: Options, phrases: tuple[Phrase, ...], progress: Progress) -> None:
        self._options = options
        self._phrases = phrases
        self._progress = progress
        self._stack = AsyncExitStack()
        self._target: Target | None = None
        self.cold_start_s: float | None = None
        self.what = ""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def measure(self, sessions: int) -> Step:
        """Load the target with *sessions* people; return what came of it.

        Raises:
            UsageError: the target cannot be had.
            GeneratorError: a generator process failed.
        """
        options = self._options
        target = await self._for(sessions)
        lengths = [phrase.ms for phrase in self._phrases]
        schedule = plan(
            options.seed, sessions, round(options.seconds * 1000), lengths, options.habits, chunk_ms=options.chunk_ms
        )
        watch = Watch(target)
        await watch.look()
        target.logged()  # what was logged until now is not of this step
        load = Load(self._jobs(target, schedule))
        try:
            await load.hear("connected", CONNECT_S)
            await watch.look()
            load.go()
            with self._progress.running(sessions, options.seconds) as shown:
                watching = asyncio.create_task(watch.run())
                await load.hear("spoken", options.seconds + CONNECT_S, shown)
                await watch.look()
                found = await load.hear("found", options.patience_s + CONNECT_S)
                watching.cancel()
        finally:
            await load.stop()
        step = Step(sessions, options.seconds)
        step.take(found)
        watch.account(step)
        step.logged = target.logged()
        if step.counts.get("refused"):
            step.recovery_s = await recovery.seconds(options, target)
        step.void = objective.void(step)
        step.missed = options.objective.missed(step)
        return step

    def _jobs(self, target: Target, schedule: Schedule) -> list[Job]:
        options, run = self._options, uuid.uuid4().hex[:8]
        count = min(options.processes, schedule.seats)
        return [
            Job(
                kind=options.role if options.role in STAGES else options.protocol,
                target=target.address,
                bind=target.inbox(f"{run}-{place}"),
                schedule=schedule.share(place, count),
                phrases=self._phrases,
                patience_s=options.patience_s,
                run=run,
                bus_keys=options.bus_keys,
            )
            for place in range(count)
        ]

    async def _for(self, sessions: int) -> Target:
        # Engines that act a profile take other times with other numbers of sessions: they are started anew.
        if self._target is not None and not self._options.profile:
            return self._target
        await self._stack.aclose()
        self._progress.say("" if self._options.target else f"starting {self._options.role}")
        room = sessions if self._options.profile else max(self._most(), sessions)
        target = self._target = await self._stack.enter_async_context(opened(self._options, room))
        self.what = target.what
        self.cold_start_s = self.cold_start_s or target.cold_start_s
        return target

    def _most(self) -> int:
        found_out = self._options.ramp == ()
        return objective.MOST_SESSIONS if found_out else self._options.most_sessions


class Load:
    """The generator processes."""

    def __init__(self, jobs: list[Job]) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        self._processes = []
        for job in jobs:
            ours, theirs = context.Pipe()
            process = context.Process(target=generator.run, args=(theirs, job), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    def go(self) -> None:
        """Let all begin at the same moment: the monotonic clock is the machine's."""
        start_s = time.monotonic() + START_S
        for pipe in self._pipes:
            pipe.send(start_s)

    async def hear(self, word: str, patience_s: float, shown: Shown | None = None) -> Findings:
        """Wait until each says *word*; return what they found, if that is the word.

        Raises:
            GeneratorError: one fails, ends or says nothing in time.
        """
        latest = [Findings() for _ in self._pipes]

        async def one(place: int, pipe: Connection) -> Findings:
            while True:
                told = await asyncio.to_thread(_next, pipe, patience_s)
                if told.word == "failed":
                    raise GeneratorError(told.why)
                if told.findings is not None:
                    latest[place] = told.findings
                if told.word == word:
                    return latest[place]
                if shown is not None:
                    shown(_sum(latest))

        return _sum(await asyncio.gather(*(one(place, pipe) for place, pipe in enumerate(self._pipes))))

    async def stop(self) -> None:
        """End those that have not ended by themselves."""
        for process in self._processes:
            await asyncio.to_thread(process.join, 1.0)
            process.kill()
            process.join()
        for pipe in self._pipes:
            pipe.close()


class Watch:
    """Looks at the processes of the target: idle, when all are connected, meanwhile, at the end."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._samples: list[dict[str, scrape.Sample]] = []
        self._used: list[dict[str, Usage]] = []
        self._at_s: list[float] = []
        self._most_age_ms: int | None = None

    async def look(self) -> None:
        """Look now."""
        names = list(self._target.health)
        found = await asyncio.gather(*(asyncio.to_thread(scrape.look, url) for url in self._target.health.values()))
        samples = {name: sample for name, sample in zip(names, found, strict=True) if sample is not None}
        used = {name: one for name, pid in self._target.pids.items() if (one := usage(pid)) is not None}
        for name, sample in samples.items():
            used.setdefault(name, Usage(sample.cpu_s, sample.memory))
        self._samples.append(samples)
        self._used.append(used)
        self._at_s.append(time.monotonic())

    async def run(self) -> None:
        """Note for ever how old the oldest waiting work is."""
        while True:
            age_ms = self._target.queue_age_ms()
            if age_ms is not None:
                self._most_age_ms = max(age_ms, self._most_age_ms or 0)
            await asyncio.sleep(WATCH_EVERY_S)

    def account(self, step: Step) -> None:
        """Write into *step* what was used between the connecting and the end."""
        idle, begin, end = self._used
        seconds = self._at_s[2] - self._at_s[1]
        for name in end:
            if name not in begin or name not in idle:
                continue
            cpu_s = end[name].cpu_s - begin[name].cpu_s
            step.processes[name] = Process(
                cpu_ms_per_session_s=cpu_s * 1000 / seconds / step.sessions,
                cores=cpu_s / seconds,
                memory_mb=end[name].memory / _MB,
                memory_kb_per_session=(end[name].memory - idle[name].memory) / step.sessions / 1024,
            )
        for name, sample in self._samples[2].items():
            before = self._samples[1].get(name, scrape.Sample())
            step.told[name] = _told(sample, before)
        step.most_queue_age_ms = self._most_age_ms


def _told(sample: scrape.Sample, before: scrape.Sample) -> dict[str, ToldBy]:
    found = {}
    for name, histogram in sample.histograms.items():
        family, _, labels = name.partition("{")
        if family not in TOLD:
            continue
        added = histogram.since(before.histograms.get(name, scrape.Histogram()))
        if added.count:
            shown = " ".join(part for part in (TOLD[family], labels.rstrip("}").partition("=")[2]) if part)
            found[shown] = ToldBy.of(added, 1000.0 if family.endswith("_seconds") else 1.0)
    return found


def _next(pipe: Connection, patience_s: float) -> Told:
    try:
        if not pipe.poll(patience_s):
            raise GeneratorError("a generator process says nothing")
        told = pipe.recv()
    except (EOFError, OSError) as error:
        raise GeneratorError("a generator process ended") from error
    if not isinstance(told, Told):
        raise GeneratorError("a generator process said what nobody understands")
    return told


def _sum(found: list[Findings]) -> Findings:
    total = Findings()
    for one in found:
        total.add(one)
    return total
