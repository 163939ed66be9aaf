"""Counters and gauges that every process of the suite exports. Labels hold no session ids and no speech content."""

import asyncio
from collections.abc import Iterator
from typing import Final

from prometheus_client import REGISTRY, Counter, Gauge, Histogram
from prometheus_client.metrics_core import CounterMetricFamily
from prometheus_client.registry import Collector

from bus.frames import BODIES

# By body. Plain numbers that the event loop alone adds to: a Counter takes a lock, which costs as much as sending.
FRAMES_RECEIVED: Final[dict[str, int]] = dict.fromkeys(BODIES, 0)
FRAMES_SENT: Final[dict[str, int]] = dict.fromkeys(BODIES, 0)


class _FrameCounts(Collector):
    """Shows the plain numbers as counters when somebody asks."""

    def collect(self) -> Iterator[CounterMetricFamily]:
        for name, text, counts in (
            ("speech_frames_received", "Frames taken from the inbox.", FRAMES_RECEIVED),
            ("speech_frames_sent", "Frames given to a peer.", FRAMES_SENT),
        ):
            family = CounterMetricFamily(name, text, labels=["body"])
            for body, count in counts.items():
                family.add_metric([body], count)
            yield family


REGISTRY.register(_FrameCounts())

FRAMES_DROPPED = Counter("speech_frames_dropped_total", "Frames not used, by reason.", ["reason"])
PEERS_REFUSED = Counter(
    "speech_peers_refused_total", "Connections on the bus that did not come about, by reason.", ["reason"]
)
LEASES = Gauge("speech_leases", "Leases held.")
LEASES_REFUSED = Counter("speech_leases_refused_total", "Leases refused, by reason.", ["reason"])
JOBS = Counter("speech_jobs_total", "Leases that ended, by outcome.", ["outcome"])
JOB_SECONDS = Histogram(
    "speech_job_seconds",
    "Life of a lease.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800),
)
QUEUE_AGE = Gauge("speech_queue_age_seconds", "Age of the oldest work not begun.")
LOOP_LAG = Gauge("speech_loop_lag_seconds", "How late the event loop ran its last timer.")
READY = Gauge("speech_ready", "1 while the process takes work.")
TASKS = Gauge("speech_tasks", "Tasks of the event loop.")


def count_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Show how many tasks *loop* has, whenever somebody asks."""
    TASKS.set_function(lambda: len(asyncio.all_tasks(loop)))
