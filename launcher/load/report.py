"""What a load run says in the end, as it is kept in JSON. No I/O but reading and writing that file.

Times are ms unless their name says otherwise; see docs/performance.md for every name.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from launcher.errors import UsageError
from launcher.load.findings import Findings, Spread
from launcher.load.scrape import Histogram

VERSION: Final = 1
# Metrics of the target that are told: how much waits, how many share a step, how long work takes.
TOLD: Final = {
    "speech_vad_batch_size": "batch: sessions in a step",
    "speech_vad_step_seconds": "step",
    "speech_asr_batch_windows": "batch: windows",
    "speech_asr_final_seconds": "last speech to transcript",
    "speech_asr_real_time_factor": "rtf",
    "speech_llm_first_token_seconds": "request to first token",
    "speech_tts_first_audio_seconds": "first text to first audio",
    "speech_tts_real_time_factor": "rtf",
    "speech_turn_latency_seconds": "turn",
    "speech_turn_stage_seconds": "stage",
}


# The way of a turn through the suite, or of a request through one service: the order of stages.
STAGES: Final = (
    *("vad", "to_asr", "asr", "to_llm", "llm", "to_tts", "tts", "to_client"),
    *("to service", "to model", "queue wait", "to decision", "recognition", "first token", "first audio", "to gateway"),
)


def in_order(stage: str) -> int:
    """Return the place of *stage* on its way, for sorting."""
    return STAGES.index(stage) if stage in STAGES else len(STAGES)


@dataclass(slots=True)
class Process:
    """What one process of the target used during a step."""

    cpu_ms_per_session_s: float
    cores: float
    memory_mb: float
    memory_kb_per_session: float


@dataclass(slots=True)
class Told:
    """A distribution that a process of the target told: mean, and the bucket that holds the 95th percentile."""

    n: float
    mean: float
    p95_at_most: float

    @classmethod
    def of(cls, histogram: Histogram, factor: float) -> Self:
        """Return *histogram* with its values times *factor*."""
        bound = histogram.at_most(0.95) * factor
        return cls(histogram.count, histogram.mean * factor, bound if bound != float("inf") else -1.0)


@dataclass(slots=True)
class Step:
    """What one number of sessions gave."""

    sessions: int
    seconds: float
    times: dict[str, Spread] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    broken: dict[str, int] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)
    processes: dict[str, Process] = field(default_factory=dict)
    told: dict[str, dict[str, Told]] = field(default_factory=dict)
    generator_cores: float = 0.0
    most_queue_age_ms: float | None = None
    recovery_s: float | None = None
    logged: dict[str, int] = field(default_factory=dict)
    void: str = ""
    missed: list[str] = field(default_factory=list)

    @property
    def turns(self) -> int:
        """Turns whose answers were waited for."""
        return self.counts.get("turns", 0)

    @property
    def lost(self) -> int:
        """Turns that were let in and not answered."""
        return self.turns - self.counts.get("answered", 0)

    @property
    def stutters(self) -> float:
        """The fraction of pieces of audio that came after the one before had been played."""
        return self.counts.get("late_chunks", 0) / max(1, self.counts.get("chunks", 0))

    @property
    def refused(self) -> float:
        """The fraction of sessions, turns or responses that were refused a place."""
        return self.counts.get("refused", 0) / max(1, self.counts.get("opened", 0))

    @property
    def cores(self) -> float:
        """Cores that the target kept busy."""
        return sum(process.cores for process in self.processes.values())

    def take(self, found: Findings) -> None:
        """Take what the generators found."""
        self.times = {name: Spread.of(values) for name, values in sorted(found.times.items()) if values}
        self.counts = dict(sorted(found.counts.items()))
        self.errors = dict(found.errors.most_common())
        self.broken = dict(found.broken.most_common())
        self.examples = found.examples
        self.generator_cores = found.cpu_s / self.seconds


@dataclass(slots=True)
class Report:
    """A whole run. *what*: the service or suite; *load*: how it was loaded; both in words."""

    role: str
    what: str
    load: str
    machine: str
    objective: str
    steps: list[Step] = field(default_factory=list)
    cold_start_s: float | None = None
    knee: int | None = None
    knee_why: str = ""
    profile: str = ""
    version: int = VERSION

    @property
    def status(self) -> int:
        """The exit status: 0 if all is well, 1 if the objective was missed, 3 if the run counts for nothing.

        A search for the knee misses the objective on purpose: it is well if it found one.
        """
        if self.knee is not None:
            return 0 if self.knee else 3 if any(step.void for step in self.steps) else 1
        if any(step.void for step in self.steps):
            return 3
        return 1 if any(step.missed for step in self.steps) else 0

    def save(self, path: Path) -> None:
        """Write the run to *path*.

        Raises:
            UsageError: that cannot be done.
        """
        try:
            path.write_text(json.dumps(asdict(self), indent=1, allow_nan=False) + "\n")
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror or error}") from error

    @classmethod
    def load_from(cls, path: Path) -> Self:
        """Return the run that was saved at *path*.

        Raises:
            UsageError: there is none of this version.
        """
        try:
            told = json.loads(path.read_text())
            if told["version"] != VERSION:
                raise UsageError(f"{path}: made by another version of this command")
            return cls(**{**told, "steps": [_step(step) for step in told["steps"]]})
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror or error}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"{path}: not what --json wrote") from error


def _step(told: dict[str, Any]) -> Step:
    return Step(
        **{
            **told,
            "times": {name: Spread.read(spread) for name, spread in told["times"].items()},
            "processes": {name: Process(**process) for name, process in told["processes"].items()},
            "told": {
                part: {name: Told(**value) for name, value in metrics.items()} for part, metrics in told["told"].items()
            },
        }
    )
