"""`make bench`: everything that is promised in one table, each figure beside the least that is possible.

`python -m launcher.bench.table`. Rows stand alone: one that fails says why, and the others go on. Exit status: 0 if
every "at least" was reached, 1 if one was missed or could not be measured; an aim that is missed changes nothing. With
`--quick`, figures mean nothing: 1 only says that something which is promised could not be measured.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from launcher.bench.machine import describe
from launcher.bench.row import Line, Met, Note, Row, Scale
from launcher.bench.rows import ROWS

COLUMNS: Final = ("what", "at least", "aim", "measured", "met?", "against the limit")
# A terminal is hardly wider than that: longer remarks go on below.
REMARK: Final = 60


def main(args: Sequence[str] | None = None, rows: Sequence[Row] = ROWS) -> int:
    """Measure *rows* and print the table; return the exit status."""
    told = _parser(rows).parse_args(args)
    scale = Scale(quick=told.quick, full=told.full)
    busy = os.getloadavg()[0]
    chosen = [row for row in rows if not told.only or row.name in told.only]
    began_s = time.monotonic()
    found: dict[str, list[Line | Note]] = {}
    for place, row in enumerate(chosen, 1):
        sys.stderr.write(f"{time.monotonic() - began_s:5.0f} s  {place}/{len(chosen)} {row.name}\n")
        found[row.name] = row.lines(scale)
    took_s = time.monotonic() - began_s
    head = f"{describe('pyzmq', 'protobuf', 'uvloop')}; load {busy:.1f} before; {took_s:.0f} s"
    head += "; QUICK: the figures mean nothing" if scale.quick else ""
    everything = [line for lines in found.values() for line in lines]
    lines = [line for line in everything if isinstance(line, Line)]
    notes = [line for line in everything if isinstance(line, Note)]
    print("\n".join((markdown if told.markdown else text)(head, lines, notes)))
    if told.json is not None:
        whole = {
            "machine": head,
            "quick": scale.quick,
            "seconds": round(took_s, 1),
            "rows": [
                {"row": name, **line.told()} for name, of in found.items() for line in of if isinstance(line, Line)
            ],
            "notes": {note.title: note.lines for note in notes},
        }
        told.json.parent.mkdir(parents=True, exist_ok=True)
        told.json.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    wrong = not_kept(lines, quick=scale.quick)
    for line in wrong:
        sys.stderr.write(f"{line.met}: {line.target.what}\n")
    return 1 if wrong else 0


def not_kept(lines: Sequence[Line], *, quick: bool = False) -> list[Line]:
    """Return the lines whose "at least" was missed (unless *quick*) or not measured."""
    return [line for line in lines if line.fails and not (quick and line.met is Met.MISSED)]


def cells(line: Line) -> tuple[str, ...]:
    """Return what stands in each of the columns."""
    target = line.target
    return (target.what, target.bound(target.at_least), target.bound(target.aim), line.measured, line.met, line.ratio)


def text(head: str, lines: Sequence[Line], notes: Sequence[Note]) -> list[str]:
    """Return the table for a terminal; remarks that are too long stand on lines of their own."""
    rows = [COLUMNS]
    remarks = [""]
    for line in lines:
        what, least, aim, measured, met, ratio = cells(line)
        short = len(measured) <= REMARK
        figure = measured if short or line.value is None else measured.removesuffix(f"; {line.remark}")
        rows.append((what, least, aim, figure if short or line.value is not None else "-", met, ratio))
        remarks.append("" if short else line.remark)
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    shown = [head, ""]
    last = ""
    for row, remark in zip(rows, remarks, strict=True):
        shown.append("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
        if remark and remark != last:  # what several targets lack is told once
            shown.append(f"    {remark}")
        last = remark
    for note in notes:
        shown += ["", note.title, *(f"  {each}" for each in note.lines)]
    return shown


def markdown(head: str, lines: Sequence[Line], notes: Sequence[Note]) -> list[str]:
    """Return the table for docs/performance.md."""
    rows = [COLUMNS, ("---",) * len(COLUMNS), *map(cells, lines)]
    shown = [f"{head}.", "", *(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows)]
    for note in notes:
        shown += ["", f"{note.title}:", "", "```", *note.lines, "```"]
    return shown


def _parser(rows: Sequence[Row]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m launcher.bench.table",
        description="Measure everything that is promised, and print one table.",
        epilog='Exit status: 0 if every "at least" was reached, 1 if one was missed or could not be measured.',
        allow_abbrev=False,
    )
    names = [row.name for row in rows]
    parser.add_argument("--only", nargs="+", choices=names, metavar="ROW", help=f"of {', '.join(names)}")
    lengths = parser.add_mutually_exclusive_group()
    lengths.add_argument("--quick", action="store_true", help="see whether everything works; the figures mean nothing")
    lengths.add_argument("--full", action="store_true", help="go on to 1000 sessions, or to where it breaks")
    parser.add_argument("--markdown", action="store_true", help="print the table as it stands in docs/performance.md")
    parser.add_argument("--json", type=Path, help="keep the figures in a file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
