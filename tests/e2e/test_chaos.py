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
    status, printed = await chaos("--sessions=6", "--seconds=16", "--every_s=4", "--seed=2", *FAR_AWAY)
    assert status == 0, printed
    assert "kill -9" in printed
    assert "SIGSTOP" in printed


async def test_a_trial_tells_what_was_not_as_it_must_be() -> None:
    sick = ("--", "--tts_fail_every=5")
    status, printed = await chaos("--sessions=3", "--seconds=4", "--every_s=9", "--answered=1", *sick)
    assert status == 1, printed
    assert "FAILED: answered" in printed
