"""The table of all benchmarks: rows that fail, what is kept and what is not, and every way to print it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.bench import rows, table
from launcher.bench.row import Line, Note, Row, Scale, Target

SPEED = Target("speed", "km/h", 50, 100, more=True)
WEIGHT = Target("weight", "kg", 10, 5)


def weighed(kg: float) -> Row:
    def measure(_: Scale) -> Iterator[Line | Note]:
        yield Line(WEIGHT, kg, "on a scale", 4, "an empty box")
        yield Note("what is in it", ("a brick", "air"))

    return Row("weight", (WEIGHT,), measure)


def broken(_: Scale) -> Iterator[Line | Note]:
    yield Line(SPEED, 80)
    raise OSError("the road\nends")


BROKEN = Row("drive", (SPEED, WEIGHT), broken)


@pytest.mark.parametrize(("kg", "status"), [(4, 0), (9, 0), (11, 1)])
def test_only_what_is_promised_at_least_decides_the_status(
    kg: float, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert table.main([], [weighed(kg)]) == status
    printed = capsys.readouterr()
    assert ("MISSED" in printed.out) == bool(status)
    assert (printed.err.count("MISSED: weight")) == status


def test_quick_figures_mean_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert table.main(["--quick"], [weighed(11)]) == 0
    assert "QUICK" in capsys.readouterr().out


def test_a_row_that_fails_says_so_and_the_others_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert table.main(["--quick"], [BROKEN, weighed(4)]) == 1
    printed = capsys.readouterr().out
    assert "80 km/h" in printed
    assert "OSError: the road ends" in printed
    assert "1.00 x an empty box" in printed


def test_rows_can_be_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    assert table.main(["--only", "weight"], [BROKEN, weighed(4)]) == 0
    assert "km/h" not in capsys.readouterr().out
    with pytest.raises(SystemExit):
        table.main(["--only", "nothing"], [BROKEN])


def test_the_figures_are_kept_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "build" / "bench.json"
    table.main(["--json", str(file)], [BROKEN, weighed(9)])
    told = json.loads(file.read_text())
    assert "cores" in told["machine"]
    assert [(row["row"], row["what"], row["value"], row["met"]) for row in told["rows"]] == [
        ("drive", "speed", 80, "at least"),
        ("drive", "weight", None, "not measured"),
        ("weight", "weight", 9, "at least"),
    ]
    assert told["notes"] == {"what is in it": ["a brick", "air"]}


def test_markdown_is_a_table_with_every_column(capsys: pytest.CaptureFixture[str]) -> None:
    table.main(["--markdown"], [weighed(4)])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert lines == [
        "| what | at least | aim | measured | met? | against the limit |",
        "| --- | --- | --- | --- | --- | --- |",
        "| weight | ≤ 10 kg | ≤ 5 kg | 4 kg; on a scale | aim | 1.00 x an empty box |",
    ]


def test_a_long_remark_stands_on_a_line_of_its_own_once() -> None:
    long = "because " * 20
    shown = table.text("machine", [Line(SPEED, 1, long), Line(WEIGHT, None, long)], [])
    assert sum(long in line for line in shown) == 1


def test_what_is_measured_elsewhere_is_not_missed() -> None:
    line = Line(WEIGHT, remark="another command", elsewhere=True)
    assert (line.met, line.fails) == ("elsewhere", False)


def test_every_row_of_the_design_is_in_the_table() -> None:
    promised = {
        target.what: (target.at_least, target.aim)
        for row in rows.ROWS
        for target in row.targets
        if (target.at_least, target.aim) != (None, None)
    }
    assert sorted(promised.values(), key=str) == sorted(
        [
            *[(2, 1.3), (0.5, 0.8)] * 2,  # the bus, over ipc and tcp
            *[(15, 5), (40, 15)],
            (200, 1000),
            *[(3, 1)] * 2,
            (1000, 200),
            (150, 64),
            *[(0, 0)] * 3,
            (None, 95),
            *[(20, 8), (None, 8)],
        ],
        key=str,
    )


def test_a_real_row_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert table.main(["--quick", "--only", "bus", "containers"]) == 0
    printed = capsys.readouterr().out
    assert "a hop over tcp" in printed
    assert "make test-containers measures it" in printed
