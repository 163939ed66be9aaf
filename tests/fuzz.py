"""Looks for what breaks the suite, for as long as it is given: `python -m tests.fuzz --minutes 10`.

The fuzz tests take turns, each with other examples than before, until the time is up or one of them fails.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from itertools import cycle
from typing import Final

# Each turn lasts from some seconds to two minutes or so.
EXAMPLES: Final = 1500
TURNS: Final = (
    ("tests/e2e/test_bus_fuzz.py",),
    ("tests/e2e/test_listener_fuzz.py",),
    ("tests/gateway/protocols/realtime/test_fuzz.py", "tests/bus/test_frames.py"),
    ("tests/e2e/test_realtime_fuzz.py",),
)
INTERRUPTED: Final = 2  # pytest.ExitCode
# A suite of five processes has so long to stop.
STOP_S: Final = 60.0


def main() -> int:
    """Take turns. Exit status 1 if a test failed; its example is printed."""
    parser = argparse.ArgumentParser(prog="tests.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (default 10)")
    ends_at = time.monotonic() + parser.parse_args().minutes * 60
    passed = 0
    for paths in cycle(TURNS):
        left_s = ends_at - time.monotonic()
        if left_s <= 0:
            break
        print(f"--- {', '.join(paths)} ({left_s:.0f} s left)", flush=True)
        status = turn(paths, left_s)
        if status:
            print(f"failed: {', '.join(paths)}; the example is above")
            return status
        passed += 1
    print(f"nothing was found in {passed} turns of up to {EXAMPLES} examples a test")
    return 0


def turn(paths: tuple[str, ...], left_s: float) -> int:
    """Run the tests at *paths* for at most *left_s* seconds; return 1 if one failed."""
    told = os.environ | {"HYPOTHESIS_PROFILE": "deep", "FUZZ_EXAMPLES": str(EXAMPLES)}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *paths]
    with subprocess.Popen(command, env=told, start_new_session=True) as tests:
        try:
            return int(tests.wait(left_s) != 0)
        except subprocess.TimeoutExpired:
            tests.send_signal(signal.SIGINT)  # pytest ends what it started
        try:
            status = tests.wait(STOP_S)
        except subprocess.TimeoutExpired:
            tests.kill()
            return 1
        return int(status not in (0, INTERRUPTED))


if __name__ == "__main__":
    sys.exit(main())
