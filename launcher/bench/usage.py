"""What a running process has used: its processor time and its memory, from /proc."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
# Fields of /proc/PID/stat counted from behind the command's name, which may hold spaces (proc_pid_stat(5)).
_UTIME, _STIME = 11, 12


@dataclass(frozen=True, slots=True)
class Usage:
    """Processor time since the process began, in ms; resident memory now, in bytes."""

    cpu_ms: float
    rss: int


def usage(pid: int) -> Usage:
    """Return what the process has used.

    Raises:
        FileNotFoundError: there is no such process, or this is not Linux.
    """
    folder = Path("/proc") / str(pid)
    fields = (folder / "stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[_UTIME]) + int(fields[_STIME])
    resident = next(line for line in (folder / "status").read_text().splitlines() if line.startswith("VmRSS:"))
    return Usage(ticks * 1000 / _TICKS_PER_S, int(resident.split()[1]) * 1024)
