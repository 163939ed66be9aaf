"""Two runs side by side: ratios, by number of sessions. No I/O."""

import statistics
from collections.abc import Callable, Sequence
from typing import Final

from launcher.load.report import Step

# What is compared, and how it is read from a step; None where it was not measured.
MEASURES: Final[dict[str, Callable[[Step], float | None]]] = {
    "latency p50, ms": lambda step: _of(step, "latency", "p50"),
    "latency p95, ms": lambda step: _of(step, "latency", "p95"),
    "latency p99, ms": lambda step: _of(step, "latency", "p99"),
    "voice to voice p50, ms": lambda step: _of(step, "voice_to_voice", "p50"),
    "silence after barge-in p50, ms": lambda step: _of(step, "silence_after_barge_in", "p50"),
    "turns lost": lambda step: float(step.lost),
    "pieces late, %": lambda step: step.stutters * 100,
    "CPU, ms per session-second": lambda step: (
        sum(process.cpu_ms_per_session_s for process in step.processes.values()) if step.processes else None
    ),
    "memory, MB": lambda step: (
        sum(process.memory_mb for process in step.processes.values()) if step.processes else None
    ),
    "generator cores": lambda step: step.generator_cores,
}


def lines(old: Sequence[Step], new: Sequence[Step], old_name: str, new_name: str) -> list[str]:
    """Return a table of medians over the steps with the same number of sessions, and their ratios."""
    numbers = sorted({step.sessions for step in old} & {step.sessions for step in new})
    if not numbers:
        return ["nothing to compare: no number of sessions is in both"]
    width = max(len(old_name), len(new_name), 10)
    shown = []
    for sessions in numbers:
        shown.append(f"{f'{sessions} sessions':32}{old_name:>{width}}  {new_name:>{width}}   {new_name}/{old_name}")
        for name, read in MEASURES.items():
            before, after = _median(old, sessions, read), _median(new, sessions, read)
            if before is None or after is None:
                continue
            ratio = f"{after / before:.2f}" if before else "-" if after else "1.00"
            shown.append(f"  {name:30}{before:>{width}.1f}  {after:>{width}.1f}   {ratio}")
    return shown


def _median(steps: Sequence[Step], sessions: int, read: Callable[[Step], float | None]) -> float | None:
    values = [value for step in steps if step.sessions == sessions and (value := read(step)) is not None]
    return statistics.median(values) if values else None


def _of(step: Step, name: str, place: str) -> float | None:
    spread = step.times.get(name)
    return float(getattr(spread, place)) if spread is not None else None
