"""Names the machine that a benchmark ran on."""

import os
import platform
from importlib import metadata
from pathlib import Path


def describe(*packages: str) -> str:
    """Return one line: processor, cores, Python and the versions of *packages*."""
    versions = [f"{package} {metadata.version(package)}" for package in packages]
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return ", ".join([_processor(), f"{_cores()} cores", python, *versions])


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _cores() -> int:
    # What this process may use, not what the machine has: containers and taskset give less.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
