"""The suite in containers, built from this tree and run once for all tests here."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher import recording
from services.tts.engines import espeak_ng
from tests.conftest import SHARED
from tests.containers.composed import Composed, free_ports

TIMINGS: dict[str, float] = {}


@pytest.fixture(scope="session")
def docker() -> None:
    """Skip the tests where there is no container engine with Compose."""
    if shutil.which("docker") is None:
        pytest.skip("the suite was not run in containers: there is no docker here")
    for asked in (["docker", "info"], ["docker", "compose", "version"]):
        if subprocess.run(asked, capture_output=True, check=False).returncode:
            pytest.skip(f"the suite was not run in containers: `{' '.join(asked)}` fails here")


@pytest.fixture(scope="session")
def composed(docker: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:  # noqa: ARG001 - it skips
    """Build the images and bring the suite up, on ports of its own; take everything down at the end."""
    variables = {"WS_HOST": "127.0.0.1", **free_ports()}
    suite = Composed(f"speech-test-{os.getpid()}", variables, tmp_path_factory.mktemp("composed"))
    suite.timed("build", "build")
    try:
        with suite.watched():
            suite.timed("up --wait", "up", "--detach", "--wait")
            yield suite
    finally:
        suite.run("down", "--volumes", "--remove-orphans", check=False)
        TIMINGS.update(suite.seconds)


@pytest.fixture(scope="session")
def question() -> bytes:
    """Return a spoken question as 16 kHz mono pcm: a recording, or else a voice that needs no container."""
    recorded = SHARED / "speech" / "brooklyn.wav"
    if recorded.exists():
        return recording.read(recorded)
    voice = espeak_ng.Engine(espeak_ng.Settings())
    voice.load()
    pcm = b"".join(voice.synthesize("What is seventeen plus twenty five?", "", "", 1.0))
    return recording.converted(pcm, voice.sample_rate)


@pytest.fixture(scope="session")
def models() -> Path:
    """Return the folder of small models, or skip the test where it is missing."""
    folder = SHARED / "models"
    if not (folder / "whisper-fixture").is_dir():
        pytest.skip("no engine with a model was run in a container: there are no models beside the project")
    return folder


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how long building, starting and stopping took."""
    for name, seconds in TIMINGS.items():
        terminalreporter.write_line(f"docker compose {name}: {seconds} s")
