"""`make chaos`: proves that nothing is lost, or says what was. `python -m launcher.chaos --help` lists the trials.

Exit status: 0 if everything was as it must be, 1 if not, 2 if the suite cannot work.
"""

import argparse
import os
import sys
import time
from functools import partial
from typing import Final

from launcher.bench.machine import describe
from launcher.chaos.canary import TONES
from launcher.chaos.stage import Show, Stage, on_stage
from launcher.chaos.trial import Options
from launcher.chaos.trials import TRIALS
from launcher.errors import LauncherError

DEFAULTS: Final = Options()
# Twice as many come to an overload, and each has a tone of its own.
MOST_SESSIONS: Final = len(TONES) // 2


def main(args: list[str]) -> int:
    """Make one trial; return the exit status."""
    parser = _parser()
    told, more = parser.parse_known_args(args)
    if more and more[0] != "--":
        parser.error(f"unknown flag {more[0]}; flags of the suite stand after --")
    trial = next((name for name in TRIALS if getattr(told, name, False)), "chaos")
    options = Options(told.sessions, told.seconds, told.every_s, told.deadline_s, told.answered, told.seed)
    if not 1 <= options.sessions <= MOST_SESSIONS:
        parser.error(f"--sessions: 1 to {MOST_SESSIONS}")
    begun_s = time.monotonic()

    def show(line: str) -> None:
        print(f"{time.monotonic() - begun_s:6.1f} s  {line}", flush=True)

    print(f"{trial}: {options.sessions} sessions, {describe('pyzmq')}, load {os.getloadavg()[0]:.1f}")
    flags = [f"--vad_capacity={options.sessions}"] if trial == "overload" else []
    replicas = 2 if trial == "chaos" else 1
    passed, log = on_stage(replicas, [*flags, *more[1:]], show, partial(_act, trial, options, show))
    if not passed:
        print("the last that the processes logged:", *log, sep="\n", file=sys.stderr)
    return 0 if passed else 1


async def _act(trial: str, options: Options, show: Show, stage: Stage) -> bool:
    return await TRIALS[trial](stage, options, show)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m launcher.chaos",
        description="Hold live conversations with a suite of two replicas of each role while its services are killed, "
        "and look at every turn. Other trials:",
        epilog="Flags after -- are the suite's: -- --vad=silero",
        allow_abbrev=False,
    )
    trials = parser.add_mutually_exclusive_group()
    trials.add_argument("--single", action="store_true", help="one replica each; kill each of them once")
    trials.add_argument(
        "--replace",
        action="store_true",
        help="one replica each; start another one and drain the first, for each role; then stop the gateway",
    )
    trials.add_argument("--overload", action="store_true", help="as many again want in as there are places")
    numbers = {
        "sessions": (int, "live sessions: websocket, realtime and socket by turns"),
        "seconds": (float, "how long harm is done, or how long the three phases of --overload take"),
        "every_s": (float, "s between two kills"),
        "deadline_s": (float, "s in which every turn has its end, counted from its last word"),
        "answered": (float, "share of turns that must be answered, 0 to 1"),
        "seed": (int, "the same seed kills the same services at the same times"),
    }
    for name, (kind, purpose) in numbers.items():
        default = getattr(DEFAULTS, name)
        parser.add_argument(f"--{name}", type=kind, default=default, help=f"{purpose} (default: {default})")
    return parser


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except LauncherError as error:
        sys.stderr.write(f"chaos: {error}\n")
        sys.exit(2)
