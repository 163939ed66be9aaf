import json
from dataclasses import asdict
from pathlib import Path

import pytest

from launcher.bench import soak
from launcher.bench.slope import Slope
from launcher.bench.soak import Held, Lasting, Report

STEADY = Slope(seconds=160.0, mean_mb=60.0, mb_per_minute=0.1, grown_mb=0.3, allowed_mb=2.0)
LEAKING = Slope(seconds=160.0, mean_mb=60.0, mb_per_minute=3.0, grown_mb=8.0, allowed_mb=2.0)


def report(
    *, turns: int = 100, answered: int = 99, left: int = 0, end: Held | None = None, memory: Slope | None = STEADY
) -> Report:
    made = Report("a machine", 4.0, 18, rounds=8)
    made.counts = {"turns": turns, "answered": answered}
    made.left = {"sessions": 0, "places": 0, "leases": left}
    made.processes = {"gateway": Lasting(Held(3, 48), end or Held(3, 48), memory)}
    made.judge()
    return made


def test_a_run_that_leaves_nothing_is_good() -> None:
    good = report()
    assert good.wrong == []
    assert list(good.lines())[-1] == "nothing leaks"


def test_a_process_that_was_too_young_for_a_line_is_not_judged_by_it() -> None:
    young = report(memory=None)
    assert young.wrong == []
    assert any("too short" in line for line in young.lines())


def test_fewer_sockets_than_at_the_start_are_fine() -> None:
    assert report(end=Held(3, 40)).wrong == []


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (report(left=1), "1 leases left"),
        (report(end=Held(4, 48)), "gateway: 4 tasks, 3 at the start"),
        (report(end=Held(3, 49)), "gateway: 49 descriptors, 48 at the start"),
        (report(memory=LEAKING), "gateway: memory grew by 8.0 MB"),
        (report(answered=94), "94 of 100 turns answered"),
        (report(turns=0, answered=0), "0 of 0 turns answered"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_left_behind_is_told(bad: Report, told: str) -> None:
    assert bad.wrong == [told]
    assert list(bad.lines())[-2:] == [f"WRONG: {told}", "FAILED"]


def test_the_command_prints_and_saves_what_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[float, int]] = []

    def run(minutes: float, sessions: int, every_s: float, engines: dict[str, str]) -> Report:
        asked.append((minutes, sessions))
        assert every_s > 0
        assert engines == {"vad": "silero"}
        return report(left=2)

    monkeypatch.setattr(soak, "soak", run)
    kept = tmp_path / "made" / "soak.json"
    assert soak.main(["--minutes", "4", "--sessions", "30", "--json", str(kept)]) == 1
    assert asked == [(4.0, 30)]
    assert "WRONG: 2 leases left" in capsys.readouterr().out
    assert json.loads(kept.read_text()) == asdict(report(left=2))
