"""The command as people start it: its exit status and what stands on standard error."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.cli import COMMANDS

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE_S = 60.0


def command(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "launcher.cli", *args],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        cwd=ROOT,
    )


@pytest.mark.parametrize(
    "args",
    [
        ["--ws_prot", "1"],
        ["--tts", "flute"],
        ["--ws_port", "seven"],
        ["say", "/nowhere/x.wav"],
        ["--ws_host", "nowhere.invalid", "--asr", "scripted", "--vad", "energy", "--tts", "scripted"],
    ],
    ids=" ".join,
)
def test_what_cannot_work_is_one_line_and_status_2(args: list[str]) -> None:
    done = command(*args)
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("speech-to-speech: ")


def test_a_port_that_is_taken_is_one_line_and_status_2() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        scripted = ("--asr", "scripted", "--vad", "energy", "--tts", "scripted", "--llm", "scripted")
        done = command("--mode", "websocket", "--ws_host", "127.0.0.1", "--ws_port", str(port), *scripted)
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith(f"speech-to-speech: gateway: cannot listen on 127.0.0.1:{port}")
    assert "change --ws_host or --ws_port" in lines[0]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_help(name: str) -> None:
    done = command(name, "--help")
    assert done.returncode == 0
    assert f"speech-to-speech {name}" in done.stdout
