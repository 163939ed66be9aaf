"""What a process tells of itself at /metrics, before and after a run: processor, memory, distributions, counts."""

import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

ANSWER_S: Final = 3.0
# Metrics of the Python process itself; they explain nothing here.
_OTHERS: Final = ("python_", "process_")
CPU: Final = "process_cpu_seconds_total"
MEMORY: Final = "process_resident_memory_bytes"


@dataclass(slots=True)
class Histogram:
    """A distribution as Prometheus counts it: *buckets* from upper bound to how many were below."""

    count: float = 0.0
    total: float = 0.0
    buckets: dict[float, float] = field(default_factory=dict)

    def since(self, before: "Histogram") -> "Histogram":
        """Return what was added since *before*."""
        added = {bound: n - before.buckets.get(bound, 0.0) for bound, n in self.buckets.items()}
        return Histogram(self.count - before.count, self.total - before.total, added)

    @property
    def mean(self) -> float:
        """The mean of all that was observed."""
        return self.total / self.count if self.count else 0.0

    def at_most(self, share: float) -> float:
        """Return the bound of the first bucket that holds the observation at *share* (0 to 1); infinity beyond all."""
        for bound in sorted(self.buckets):
            if self.buckets[bound] >= share * self.count:
                return bound
        return float("inf")


@dataclass(slots=True)
class Sample:
    """One look at a process."""

    cpu_s: float = 0.0
    memory: float = 0.0
    values: dict[str, float] = field(default_factory=dict)
    histograms: dict[str, Histogram] = field(default_factory=dict)


def look(url: str) -> Sample | None:
    """Return what the process at the health address *url* says, None if it says nothing that can be read."""
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
            f"{url.rstrip('/')}/metrics", timeout=ANSWER_S
        ) as answer:
            return read(answer.read().decode())
    except (OSError, ValueError, HTTPException):
        return None


def read(text: str) -> Sample:
    """Return what *text*, in the format of Prometheus, says.

    Raises:
        ValueError: it is in another format.
    """
    sample = Sample()
    for family in text_string_to_metric_families(text):
        for name, labels, value, *_ in family.samples:
            if name == CPU:
                sample.cpu_s = value
            elif name == MEMORY:
                sample.memory = value
            elif name.startswith(_OTHERS) or name.endswith("_created"):
                continue
            elif family.type == "histogram":
                _into(sample.histograms, family.name, name, labels, value)
            else:
                sample.values[named(name, labels.items())] = value
    return sample


def named(name: str, labels: Iterable[tuple[str, str]]) -> str:
    """Return the name of a series: `name{stage=vad}`."""
    told = ",".join(f"{key}={value}" for key, value in labels)
    return f"{name}{{{told}}}" if told else name


def _into(histograms: dict[str, Histogram], family: str, name: str, labels: dict[str, str], value: float) -> None:
    others = [(key, told) for key, told in labels.items() if key != "le"]
    histogram = histograms.setdefault(named(family, others), Histogram())
    if name.endswith("_bucket"):
        histogram.buckets[float(labels["le"])] = value
    elif name.endswith("_sum"):
        histogram.total = value
    elif name.endswith("_count"):
        histogram.count = value
