"""What the person at the terminal sees while the load runs; nothing where there is no terminal."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from launcher.load.findings import Findings, percentile

Shown = Callable[[Findings], None]


class Progress:
    """A line that moves, on a terminal with the package rich; else silence."""

    def __init__(self) -> None:
        self._console: Any = None
        if sys.stderr.isatty():
            try:
                from rich.console import Console
            except ImportError:
                return
            self._console = Console(stderr=True, highlight=False)

    def say(self, line: str) -> None:
        """Show *line* where lines move."""
        if self._console is not None and line:
            self._console.print(f"{line} ...", style="dim")

    @contextmanager
    def running(self, sessions: int, seconds: float) -> Iterator[Shown]:
        """Show how far a step is; gives what is to be called with what was found so far."""
        if self._console is None:
            yield lambda _: None
            return
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[seen]}"),
        )
        begun_s = time.monotonic()
        with Bar(*columns, console=self._console, transient=True) as bar:
            task = bar.add_task(f"{sessions} sessions", total=seconds, seen="")

            def shown(found: Findings) -> None:
                bar.update(task, completed=min(seconds, time.monotonic() - begun_s), seen=summary(found))

            yield shown


def summary(found: Findings) -> str:
    """Return what was found so far, on one line."""
    latest = sorted(found.times.get("latency", []))
    told = f"latency p50 {percentile(latest, 50):.0f} ms, p95 {percentile(latest, 95):.0f} ms" if latest else ""
    errors = ", ".join(f"{reason} ({times})" for reason, times in found.errors.most_common(2))
    return "   ".join(part for part in (told, errors) if part)
