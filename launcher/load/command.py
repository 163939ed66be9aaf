"""The command `speech-to-speech load`: options in, tables and files out."""

import asyncio
import dataclasses
import importlib.util
import shlex
import sys

from launcher.bench.machine import describe
from launcher.errors import UsageError
from launcher.load import compare, objective, profile, speech, table
from launcher.load.bench import Bench
from launcher.load.options import STAGES, Options, parse
from launcher.load.progress import Progress
from launcher.load.report import Report, Step


def main(args: list[str]) -> int:
    """Load, report; return the exit status.

    Raises:
        LauncherError: what was asked for cannot be done.
    """
    options = parse(args)
    old = Report.load_from(options.compare) if options.compare else None
    if options.html is not None:
        _can_draw()
    if options.ab:
        return asyncio.run(_alternate(options, parse([*_without_ab(args), *shlex.split(options.ab)])))
    report = asyncio.run(run(options))
    for line in table.lines(report):
        print(line)
    if options.json is not None:
        report.save(options.json)
    if options.html is not None:
        from launcher.load import page

        page.write(report, options.html)
    if old is not None:
        for line in compare.lines(old.steps, report.steps, str(options.compare), "now"):
            print(line)
    return report.status


async def run(options: Options) -> Report:
    """Do what *options* say; return what came of it.

    Raises:
        LauncherError: it cannot be done.
    """
    report = _empty(options)
    phrases = speech.phrases(options.speech, options.recordings)
    async with Bench(options, phrases, Progress()) as bench:

        async def measure(sessions: int) -> Step:
            step = await bench.measure(sessions)
            report.steps.append(step)
            return step

        if options.ramp is None:
            await measure(options.sessions)
        else:
            knee = await objective.search(options.ramp, measure, options.objective)
            report.knee, report.knee_why = knee.sessions, knee.why
        report.what, report.cold_start_s = bench.what, bench.cold_start_s
    return report


async def _alternate(first: Options, second: Options) -> int:
    """Measure both ways by turns: what else the machine does meets both alike."""
    reports = {"A": _empty(first), "B": _empty(second)}
    for number in range(1, first.rounds + 1):
        for name, options in (("A", first), ("B", second)):
            found = await run(dataclasses.replace(options, ab="", seed=options.seed + number - 1))
            reports[name].steps += found.steps
            reports[name].what = found.what
            latency = found.steps[0].times.get("latency")
            told = f"p50 {latency.p50:.1f}, p95 {latency.p95:.1f} ms" if latency else "nothing answered"
            print(f"round {number} {name}  {found.what}: {told}{'  VOID' if found.steps[0].void else ''}", flush=True)
    print()
    for line in compare.lines(reports["A"].steps, reports["B"].steps, "A", "B"):
        print(line)
    return max(report.status for report in reports.values())


def _empty(options: Options) -> Report:
    said = ", ".join(path.name for path in options.recordings) or options.speech
    load = f"a turn every {options.habits.pause_ms / 1000:g} s or so, {said}"
    if options.habits.barge_ins:
        load += f", {options.habits.barge_ins:.0%} interrupted"
    if options.habits.disconnects:
        load += f", {options.habits.disconnects:.0%} cut off"
    if options.role not in STAGES:
        load += f", {options.protocol}, chunks of {options.chunk_ms} ms"
    acted = profile.read(options.profile).title if options.profile else ""
    report = Report(options.role, "", load, describe(), str(options.objective), profile=acted)
    report.load += f", {options.processes} generator {'process' if options.processes == 1 else 'processes'}"
    return report


def _without_ab(args: list[str]) -> list[str]:
    kept, skip = [], False
    for arg in args:
        if skip:
            skip = False
        elif arg == "--ab":
            skip = True
        elif not arg.startswith("--ab="):
            kept.append(arg)
    return kept


def _can_draw() -> None:
    """Raise UsageError now, not after the run, if there is nothing to draw with."""
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageError(f"load: --html needs matplotlib: {sys.executable} -m pip install matplotlib")
