"""A launcher of two fake parts, as a program: for tests that send it signals."""

import asyncio
import sys

from launcher.supervisor import Supervisor
from tests.launcher.fakes import fake_command, fake_part


def say(line: str) -> None:
    print(line, flush=True)


async def until_stopped() -> int:
    say("all ready")
    await asyncio.Event().wait()
    return 0


if __name__ == "__main__":
    parts = [fake_part("vad", "ready"), fake_part("gateway", sys.argv[1])]
    supervisor = Supervisor(parts, say=say, log=say, start_timeout_s=60, command=fake_command)
    sys.exit(asyncio.run(supervisor.run(until_stopped)))
