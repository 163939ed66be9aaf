"""Times, counts and reasons; percentiles that were measured."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.load.findings import MOST_EXAMPLES, Findings, Spread, percentile


def test_percentiles_are_by_nearest_rank() -> None:
    ordered = [float(value) for value in range(1, 101)]
    assert [percentile(ordered, place) for place in (0, 1, 50, 95, 99, 100)] == [1, 1, 50, 95, 99, 100]
    assert percentile([7.0], 99) == 7.0


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=200))
def test_every_number_of_a_spread_was_measured(values: list[float]) -> None:
    spread = Spread.of(values)
    assert {spread.p50, spread.p90, spread.p95, spread.p99, spread.most} <= set(values)
    assert spread.p50 <= spread.p90 <= spread.p95 <= spread.p99 <= spread.most == max(values)
    assert sum(value <= spread.p95 for value in values) >= 0.95 * len(values)
    assert spread.n == len(values)


def test_nothing_measured_has_no_spread() -> None:
    with pytest.raises(ValueError, match="nothing"):
        Spread.of([])


def test_findings_of_several_processes_add_up() -> None:
    first, second = Findings(), Findings()
    first.time("latency", 1.0)
    second.time("latency", 2.0)
    second.time("to_last", 3.0)
    first.counts["turns"] += 2
    second.counts["turns"] += 3
    second.error("refused", "why")
    second.breaks("promise")
    first.add(second)
    assert first.times == {"latency": [1.0, 2.0], "to_last": [3.0]}
    assert first.counts == {"turns": 5}
    assert (first.errors, first.broken) == ({"refused": 1}, {"promise": 1})
    assert first.examples == ["refused: why"]


def test_examples_are_few_and_differ() -> None:
    findings = Findings()
    for number in range(100):
        findings.error("error", f"number {number // 2}")
    assert len(findings.examples) == MOST_EXAMPLES
    assert len(set(findings.examples)) == MOST_EXAMPLES
    assert findings.errors["error"] == 100
