"""What a process tells at /metrics."""

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from launcher.load.scrape import Histogram as Read
from launcher.load.scrape import look, read


def test_distributions_and_counts_are_read() -> None:
    registry = CollectorRegistry()
    stage = Histogram("stage_seconds", "Doc.", ["stage"], buckets=(0.1, 1), registry=registry)
    dropped = Counter("dropped_total", "Doc.", registry=registry)
    stage.labels("vad").observe(0.05)
    stage.labels("vad").observe(3)
    dropped.inc(2)
    sample = read(generate_latest(registry).decode())
    assert sample.values == {"dropped_total": 2}
    found = sample.histograms["stage_seconds{stage=vad}"]
    assert (found.count, found.mean) == (2, 1.525)
    assert (found.at_most(0.5), found.at_most(0.95)) == (0.1, float("inf"))


def test_only_what_was_added_counts() -> None:
    before = Read(2, 1.0, {0.1: 1, 1.0: 2})
    after = Read(5, 2.5, {0.1: 1, 1.0: 5})
    added = after.since(before)
    assert (added.count, added.mean, added.at_most(0.5)) == (3, 0.5, 1.0)


def test_the_process_itself_is_read() -> None:
    sample = read(
        "# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total 1.5\n"
        "# TYPE process_resident_memory_bytes gauge\nprocess_resident_memory_bytes 2048\n"
    )
    assert (sample.cpu_s, sample.memory) == (1.5, 2048)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "nothing", ""])
def test_who_does_not_answer_tells_nothing(url: str) -> None:
    assert look(url) is None
