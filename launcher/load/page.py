"""The report as one page that needs nothing else: tables, and plots drawn by matplotlib as SVG inside it."""

import html
import io
from pathlib import Path
from typing import Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from launcher.errors import UsageError
from launcher.load import table
from launcher.load.report import Report, Step, in_order

SIZE: Final = (8.0, 3.6)
# Latencies that are drawn as distributions.
DRAWN: Final = ("latency", "to_last", "end_to_stopped", "voice_to_voice", "silence_after_barge_in")
STYLE: Final = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
pre { background: #f6f6f4; padding: 1rem; overflow-x: auto; font-size: 13px } figure { margin: 1.5rem 0 }
svg { max-width: 100%; height: auto } .void, .missed { color: #a00 } .met { color: #060 }
@media (prefers-color-scheme: dark) { body { background: #fff } }
"""


def write(report: Report, path: Path) -> None:
    """Write the page.

    Raises:
        UsageError: that cannot be done.
    """
    try:
        path.write_text(render(report))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from error


def render(report: Report) -> str:
    """Return the page."""
    figures = [_distribution(report)]
    if len(report.steps) > 1:
        figures.append(_capacity(report))
    last = report.steps[-1] if report.steps else None
    if last is not None and any(_stages(last)):
        figures.append(_waterfall(last))
    if last is not None and last.processes:
        figures.append(_processors(report))
    drawn = "\n".join(f"<figure>{_svg(figure)}</figure>" for figure in figures)
    title = html.escape(f"Load: {report.role}")
    text = html.escape("\n".join(table.lines(report)))
    return (
        f"<!doctype html>\n<html lang=en><head><meta charset=utf-8>\n<title>{title}</title>\n"
        f"<style>{STYLE}</style></head>\n"
        f"<body><h1>{title}</h1><p>{html.escape(report.what)}</p><p class={_verdict(report)}>{_said(report)}</p>\n"
        f"{drawn}\n<h2>All figures</h2><pre>{text}</pre></body></html>\n"
    )


def _verdict(report: Report) -> str:
    return {0: "met", 3: "void"}.get(report.status, "missed")


def _said(report: Report) -> str:
    return html.escape(table.lines(report)[-1])


def _distribution(report: Report) -> Figure:
    figure, axes = _figure("Latency distribution", "ms", "share of all, %")
    step = report.steps[-1] if report.steps else None
    for name in DRAWN:
        spread = step.times.get(name) if step is not None else None
        if spread is not None and spread.points:
            axes.plot(spread.points, range(len(spread.points)), label=f"{table.TIMES[name]} (n {spread.n})")
    if axes.lines:
        axes.set_xlim(left=0)
        axes.legend(loc="lower right", frameon=False)
    return figure


def _capacity(report: Report) -> Figure:
    figure, axes = _figure("Capacity", "sessions", "latency, ms")
    steps = sorted((step for step in report.steps if "latency" in step.times), key=lambda step: step.sessions)
    for place in ("p50", "p95", "p99"):
        axes.plot([s.sessions for s in steps], [getattr(s.times["latency"], place) for s in steps], "o-", label=place)
    lost = [step for step in steps if step.lost or step.void]
    axes.plot([s.sessions for s in lost], [s.times["latency"].p95 for s in lost], "rx", label="turns lost, or void")
    if report.knee:
        axes.axvline(report.knee, linestyle="--", color="grey", label=f"knee: {report.knee}")
    if steps:
        axes.set_yscale("log")
    axes.legend(frameon=False)
    return figure


def _waterfall(step: Step) -> Figure:
    figure, axes = _figure(f"Where the time goes, {step.sessions} sessions (means)", "ms", "")
    begin = 0.0
    names: list[str] = []
    for name, mean in _stages(step):
        axes.barh(len(names), mean, left=begin)
        axes.text(begin + mean, len(names), f" {mean:.1f}", va="center", fontsize=8)
        begin += max(mean, 0.0)
        names.append(name)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    return figure


def _processors(report: Report) -> Figure:
    figure, axes = _figure("Processor time", "sessions", "ms per session-second")
    steps = sorted(report.steps, key=lambda step: step.sessions)
    below = [0.0] * len(steps)
    for name in steps[-1].processes:
        used = [s.processes[name].cpu_ms_per_session_s if name in s.processes else 0.0 for s in steps]
        axes.bar([str(s.sessions) for s in steps], used, bottom=below, label=name, width=0.5)
        below = [under + more for under, more in zip(below, used, strict=True)]
    axes.legend(frameon=False)
    return figure


def _stages(step: Step) -> list[tuple[str, float]]:
    """Return the stages of a turn and their mean ms: from the frames' stamps, else from the gateway's own account."""
    stamped = [(name.removeprefix("stage: "), s.mean) for name, s in step.times.items() if name.startswith("stage: ")]
    told = step.told.get("gateway", {})
    found = stamped or [(name.removeprefix("stage "), t.mean) for name, t in told.items() if name.startswith("stage ")]
    return sorted(found, key=lambda item: in_order(item[0]))


def _figure(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, loc="left")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    return figure, axes


def _svg(figure: Figure) -> str:
    drawn = io.StringIO()
    # Text stays text, and the same run gives the same page.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "load", "font.family": "sans-serif"}):
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    text = drawn.getvalue()
    return text[text.index("<svg") :]
