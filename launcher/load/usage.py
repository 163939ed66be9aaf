"""What the processes of a target use: processor time and memory, workers that they started included."""

from dataclasses import dataclass

import psutil


@dataclass(frozen=True, slots=True)
class Usage:
    """Processor time since the process began, in seconds; resident memory now, in bytes."""

    cpu_s: float
    memory: float


def usage(pid: int) -> Usage | None:
    """Return what a process of this machine and all its children have used, None if there is none."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.Error:
        return None
    cpu_s = memory = 0.0
    for member in family:
        try:
            times = member.cpu_times()
            cpu_s += times.user + times.system
            memory += member.memory_info().rss
        except psutil.Error:  # a worker that ended meanwhile
            continue
    return Usage(cpu_s, memory)
