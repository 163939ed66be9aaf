"""What becomes of the parts when the launcher is stopped or killed: told by a launcher in a process of its own."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.launcher.test_supervisor import PATIENCE_S, lives

ROOT = Path(__file__).resolve().parent.parent.parent


class Launcher:
    """A running fake launcher: its lines until all was ready, and the pids that they name."""

    def __init__(self, running: subprocess.Popen[str]) -> None:
        self.running = running
        self.lines: list[str] = []
        assert running.stdout is not None
        for line in running.stdout:
            self.lines.append(line)
            if "all ready" in line:
                break
        self.pids = [int(found[1]) for line in self.lines if (found := re.search(r"(?:pid|worker)=(\d+)", line))]
        self.folder = Path(re.findall(r"ipc://(\S+)/", "".join(self.lines))[0])


@contextmanager
def launched(behaviour: str = "ready") -> Iterator[Launcher]:
    command = [sys.executable, "-m", "tests.launcher.fake_launcher", behaviour]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True) as running:
        launcher = Launcher(running)
        try:
            yield launcher
        finally:
            running.kill()
            for pid in launcher.pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            shutil.rmtree(launcher.folder, ignore_errors=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_everything_and_is_no_failure(number: signal.Signals) -> None:
    with launched() as launcher:
        launcher.running.send_signal(number)
        assert launcher.running.wait(PATIENCE_S) == 0
        assert not any(lives(pid) for pid in launcher.pids)
        assert not launcher.folder.exists()


def test_a_second_ctrl_c_does_not_wait() -> None:
    with launched("stubborn") as launcher:
        launcher.running.send_signal(signal.SIGINT)
        time.sleep(0.1)  # two signals at once would be one
        launcher.running.send_signal(signal.SIGINT)
        assert launcher.running.wait(PATIENCE_S) == 0
        assert not any(lives(pid) for pid in launcher.pids)


def test_the_terminals_ctrl_c_does_not_reach_the_parts() -> None:
    with launched() as launcher:
        assert {os.getsid(pid) for pid in launcher.pids} == set(launcher.pids)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children that their parent died")
def test_a_launcher_that_is_killed_takes_the_parts_along() -> None:
    with launched("stubborn") as launcher:
        launcher.running.kill()
        launcher.running.wait(PATIENCE_S)
        deadline = time.monotonic() + PATIENCE_S
        while any(lives(pid) for pid in launcher.pids) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not any(lives(pid) for pid in launcher.pids)
