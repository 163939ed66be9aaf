"""The command as people start it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.check.rules import RULES
from tests.support.bus import ipc_folder

ROOT = Path(__file__).resolve().parent.parent.parent.parent
PATIENCE_S = 90.0


@pytest.fixture
def folder() -> Iterator[Path]:
    with ipc_folder() as path:
        yield path


def check(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "launcher.cli", "check", *args],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        cwd=ROOT,
    )


def check_tts(folder: Path, role: str, *args: str) -> subprocess.CompletedProcess[str]:
    """Check our tts service, which is started for it, as a service of *role*."""
    inbox, address = f"ipc://{folder}/kit.ipc", f"ipc://{folder}/tts.ipc"
    run = f"{sys.executable} -m services.tts --engine scripted --health_port 0 --bind {address} --gateways {{inbox}}"
    return check(role, address, "--inbox", inbox, "--run", run, *args)


def test_the_rules_can_be_read() -> None:
    done = check("--rules")
    assert done.returncode == 0
    assert [line.split(maxsplit=1)[0] for line in done.stdout.splitlines()] == [rule.name for rule in RULES]
    listed = json.loads(check("tts", "--rules", "--json").stdout)
    assert [rule["name"] for rule in listed] == [rule.name for rule in RULES if "tts" in rule.roles]


def test_a_service_that_keeps_the_rules_gives_status_0(folder: Path) -> None:
    done = check_tts(folder, "tts", "--only", "announces-itself", "--only", "drains", "--drain")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[:2] for line in lines[1:3]] == [["pass", "announces-itself"], ["pass", "drains"]]
    assert "exit status 0" in lines[2]
    assert lines[3].startswith("2 passed, 0 failed, 0 skipped")


def test_a_service_that_breaks_one_gives_status_1_and_the_sentence_it_breaks(folder: Path) -> None:
    done = check_tts(folder, "asr", "--only", "announces-itself")
    assert done.returncode == 1, done.stdout + done.stderr
    broken = next(rule for rule in RULES if rule.name == "announces-itself")
    assert done.stdout.splitlines()[1].startswith("FAIL  announces-itself")
    assert broken.says in done.stdout


def test_json_tells_the_same(folder: Path) -> None:
    done = check_tts(folder, "asr", "--only", "announces-itself", "--only", "speaks-this-version", "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["conforms"], told["engine"]) == (1, False, "scripted")
    assert {rule["name"]: rule["outcome"] for rule in told["rules"]} == {
        "announces-itself": "fail",
        "speaks-this-version": "pass",
    }


@pytest.mark.parametrize(
    ("args", "remedy"),
    [
        (["tts"], "say which role and where"),
        (["tts", "127.0.0.1:7704"], "write tcp://HOST:PORT or ipc://PATH"),
        (["tts", "tcp://127.0.0.1:1", "--only", "nothing"], "--rules lists them"),
        (["tts", "ipc:///tmp/x.ipc", "--inbox", "ipc:///nowhere/x.ipc"], "choose another with --inbox"),
        (["tts", "ipc:///tmp/x.ipc", "--inbox", "{folder}", "--run", "/nowhere/x"], "cannot run /nowhere/x"),
        (
            ["tts", "ipc:///tmp/x.ipc", "--inbox", "{folder}", "--patience_s", "0.1", "--start_s", "0"],
            "no service announced itself to ipc://",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_work_is_one_line_and_status_2(folder: Path, args: list[str], remedy: str) -> None:
    done = check(*(arg.replace("{folder}", f"ipc://{folder}/kit.ipc") for arg in args))
    assert done.returncode == 2
    assert remedy in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
