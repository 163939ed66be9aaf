"""The tts service in one file of JavaScript: the conformance kit finds nothing wrong with it."""

import fcntl
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.support.bus import ipc_folder

ROOT: Final = Path(__file__).resolve().parent.parent.parent
HERE: Final = ROOT / "examples" / "node"
INSTALL_S: Final = 180
CHECK_S: Final = 120
OLDEST_NODE: Final = 20


@pytest.fixture(scope="module")
def node() -> str:
    """Return the path of Node, with what the example needs installed beside it; skip where that cannot be."""
    found, npm = shutil.which("node"), shutil.which("npm")
    if found is None or npm is None:
        pytest.skip("examples/node is NOT tested: node and npm are missing (Node 20 or newer)")
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.removeprefix("v").partition(".")[0]) < OLDEST_NODE:
        pytest.skip(f"examples/node is NOT tested: Node is {version}, {OLDEST_NODE} or newer is needed")
    with (HERE / "package.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run side by side
        problem = _install(npm)
    if problem:
        pytest.skip(f"examples/node is NOT tested: npm cannot install what it needs ({problem})")
    return found


def _install(npm: str) -> str:
    """Install what the lock file says, unless that has been done; return why it could not be."""
    stamp, wanted = HERE / "node_modules" / ".installed", (HERE / "package-lock.json").read_text()
    if stamp.exists() and stamp.read_text() == wanted:
        return ""
    # zeromq brings its libraries for the usual platforms, so that no script has to run.
    command = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
    command += ["--prefer-offline", "--fetch-retries=1"]
    try:
        done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=INSTALL_S, check=False)
    except subprocess.TimeoutExpired:
        return f"not within {INSTALL_S} s"
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["no reason given"])[0]
    stamp.write_text(wanted)
    return ""


def test_a_service_in_another_language_keeps_every_rule(node: str) -> None:
    with ipc_folder() as folder:
        address, ttl = f"ipc://{folder}/tts.ipc", ("--lease_ttl_s", "1.5")
        run = f"{node} {HERE / 'tts.mjs'} --bind {address} --gateways {{inbox}} --capacity 4 {' '.join(ttl)}"
        command = [sys.executable, "-m", "launcher.cli", "check", "tts", address, "--inbox", f"ipc://{folder}/kit.ipc"]
        command += ["--run", run, "--drain", "--json", *ttl]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=CHECK_S, check=False)
    assert done.stdout, done.stderr
    told = json.loads(done.stdout)
    assert {rule["name"]: rule["why"] for rule in told["rules"] if rule["outcome"] != "pass"} == {}
    assert (done.returncode, told["engine"], told["conforms"]) == (0, "beep", True)
