"""The report: kept, read again, compared, shown as lines and as a page."""

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

from launcher.errors import UsageError
from launcher.load import compare, table
from launcher.load.clock import LAG
from launcher.load.findings import Findings
from launcher.load.report import Process, Report, Step, Told


def step(sessions: int = 10, factor: float = 1.0) -> Step:
    found = Findings(cpu_s=1.5)
    for ms in range(1, 101):
        found.time("latency", ms * factor)
        found.time("stage: vad", 1.0)
        found.time("stage: to_client", 2.0)
        found.time(LAG, 0.1)
    found.counts.update(turns=100, answered=99, chunks=1000, late_chunks=1, opened=12, refused=2, turns_refused=2)
    found.error("no answer", "an example")
    made = Step(sessions, 10.0)
    made.take(found)
    made.processes = {"gateway": Process(2.0 * factor, 0.5, 80.0, 300.0), "vad": Process(1.0, 0.25, 60.0, 20.0)}
    made.told = {"gateway": {"turn": Told(99, 12.5, 25.0), "stage vad": Told(99, 4.0, -1.0)}}
    made.missed = ["1 turns lost"]
    return made


def report(*steps: Step) -> Report:
    return Report("gateway", "a gateway", "a load", "a machine", "an objective", list(steps), cold_start_s=2.5)


def test_a_report_survives_its_file(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    made = report(step(), step(20))
    made.save(file)
    assert Report.load_from(file) == made


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"version": 1}', '{"version": 99}'])
def test_another_file_is_refused_in_one_line(tmp_path: Path, content: str) -> None:
    file = tmp_path / "run.json"
    file.write_text(content)
    with pytest.raises(UsageError, match=r"run\.json"):
        Report.load_from(file)


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        report().save(tmp_path / "none" / "run.json")


def test_the_table_says_everything() -> None:
    text = "\n".join(table.lines(report(step())))
    for told in (
        "100 asked, 99 answered, 1 lost, 2 refused",
        "cold start to ready 2.5 s",
        "50.0    90.0    95.0    99.0",
        "99.900% of 1000 pieces",
        "16.7% of 12",
        "no answer: 1",
        "an example",
        "2.00 ms CPU per session-second",
        "sessions per core: 13",
        "stage vad: mean 4, p95 beyond the last bucket",
        "missed: 1 turns lost",
    ):
        assert told in text
    assert text.index("  vad  ") < text.index("to client")


def test_a_void_run_says_so_and_has_a_status_of_its_own() -> None:
    voided = step()
    voided.void = "the generator was late"
    made = report(voided)
    assert made.status == 3
    assert "VOID: the run counts for nothing" in table.lines(made)[-1]


def test_the_status_tells_whether_the_objective_was_met() -> None:
    good = step()
    good.missed = []
    assert report(good).status == 0
    assert report(step()).status == 1
    found = report(good, step(20))
    found.knee = 10
    assert found.status == 0


def test_comparing_gives_ratios_of_what_both_have() -> None:
    shown = compare.lines([step(), step(40)], [step(factor=2.0)], "old", "new")
    assert len([line for line in shown if line.endswith("new/old")]) == 1
    assert any(line.split()[:2] == ["latency", "p95,"] and line.endswith("2.00") for line in shown)
    assert compare.lines([step(10)], [step(20)], "old", "new") == [
        "nothing to compare: no number of sessions is in both"
    ]


def test_the_page_holds_plots_and_needs_nothing_else() -> None:
    pytest.importorskip("matplotlib", reason="the page is drawn by matplotlib: pip install matplotlib")
    from launcher.load import page

    made = report(step(), step(20, 3.0))
    made.knee = 10
    text = page.render(made)
    assert text.count("<svg") == 4
    links = Links()
    links.feed(text)
    assert links.outside == []
    assert text == page.render(made)


def test_a_page_of_a_run_in_which_nothing_was_answered_is_drawn() -> None:
    pytest.importorskip("matplotlib", reason="the page is drawn by matplotlib: pip install matplotlib")
    from launcher.load import page

    assert "<svg" in page.render(report(Step(1, 5.0)))
    assert "<svg" in page.render(report())


def test_json_is_plain(tmp_path: Path) -> None:
    report(step()).save(tmp_path / "run.json")
    told = json.loads((tmp_path / "run.json").read_text())
    assert told["steps"][0]["times"]["latency"]["p95"] == 95.0
    assert len(told["steps"][0]["times"]["latency"]["points"]) == 101


class Links(HTMLParser):
    """Collects what a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "href", "xlink:href") and value and not value.startswith("#"):
                self.outside.append(f"{tag} {value}")
