"""The short form of `make chaos`. How long things take decides nothing here: the deadlines are far away."""

import asyncio
import os
import sys

# A trial is over after half a minute on an idle machine.
PATIENCE_S = 180.0
FAR_AWAY = ("--deadline_s=60", "--answered=0.8")


async def chaos(*flags: str) -> tuple[int | None, str]:
    """Run a trial; return its exit status and what it printed."""
    running = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "launcher.chaos",
        *flags,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            printed, _ = await running.communicate()
    finally:
        if running.returncode is None:
            running.kill()
    return running.returncode, printed.decode()


async def test_sessions_lose_nothing_while_services_are_killed_and_paused() -> None:
    status, printed = await chaos("--sessions=6", "--seconds=14", "--every_s=4", "--seed=2", *FAR_AWAY)
    assert status == 0, printed
    assert "kill -9" in printed
    assert "SIGSTOP" in printed


async def test_a_trial_tells_what_was_not_as_it_must_be() -> None:
    # The silence that ends a turn is longer than this deadline.
    status, printed = await chaos("--sessions=2", "--seconds=2", "--every_s=9", "--deadline_s=0.2")
    assert status == 1, printed
    assert "FAILED: session 1 (websocket): turn 1: no end within the deadline" in printed
    assert "FAILED: stuck: session 1 (websocket)" in printed
