"""The stock WebSocket transport of `@openai/agents-realtime` in Node: spoken turns, tools, barge-in, never an error."""

import asyncio
import base64
import fcntl
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from launcher.bench.suite import Suite
from tests.e2e.realtime.clients import from_pcm16, loudest_hz

HERE: Final = Path(__file__).parent / "agents-js"
INSTALL_S: Final = 180
CONVERSATION_S: Final = 40
OLDEST_NODE: Final = 20


@pytest.fixture(scope="module")
def node() -> str:
    """Return the path of Node, with what the client needs installed beside it; skip where that cannot be."""
    found, npm = shutil.which("node"), shutil.which("npm")
    if found is None or npm is None:
        pytest.skip("@openai/agents-realtime is NOT tested: node and npm are missing (Node 20 or newer)")
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.removeprefix("v").partition(".")[0]) < OLDEST_NODE:
        pytest.skip(f"@openai/agents-realtime is NOT tested: Node is {version}, {OLDEST_NODE} or newer is needed")
    with (HERE / "package.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run side by side
        problem = _install(npm)
    if problem:
        pytest.skip(f"@openai/agents-realtime is NOT tested: npm cannot install it ({problem})")
    return found


def _install(npm: str) -> str:
    """Install what the lock file says, unless that has been done; return why it could not be."""
    stamp, wanted = HERE / "node_modules" / ".installed", (HERE / "package-lock.json").read_text()
    if stamp.exists() and stamp.read_text() == wanted:
        return ""
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


async def hold(node: str, suite: Suite, scenario: str) -> list[dict[str, Any]]:
    """Hold the conversation; return what was told, the last of it by the client itself."""
    url = f"ws://127.0.0.1:{suite.ws_port}/v1/realtime"
    process = await asyncio.create_subprocess_exec(
        *(node, "client.mjs", url, scenario),
        cwd=HERE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    reading = asyncio.ensure_future(process.communicate())
    done, _ = await asyncio.wait([reading], timeout=CONVERSATION_S)
    if not done:
        process.kill()
    output = (await reading)[0].decode()
    assert done, output[-3000:]
    assert process.returncode == 0, output[-3000:]
    told = [json.loads(line) for line in output.splitlines()]
    assert not [event for event in told if event["name"] == "error"]
    return told


def names(told: list[dict[str, Any]]) -> list[str]:
    """Return what was told, in order."""
    return [event["name"] for event in told]


def said(told: list[dict[str, Any]]) -> list[tuple[str, str | None]]:
    """Return the client's own view of the conversation: who, and what."""
    messages = [item for item in told[-1]["history"] if item["type"] == "message"]
    parts = ((item["role"], part) for item in messages for part in item["content"])
    return [(role, part.get("transcript") or part.get("text")) for role, part in parts]


async def test_a_spoken_turn_is_answered_aloud(node: str, suite: Suite) -> None:
    told = await hold(node, suite, "spoken")
    assert said(told) == [("user", "tone 440"), ("assistant", "I heard tone 440.")]
    assert loudest_hz(from_pcm16(base64.b64decode(told[-1]["audio"]))) == 440


async def test_a_tool_of_the_client_is_called_and_its_result_is_spoken_of(node: str, suite: Suite) -> None:
    told = await hold(node, suite, "tool")
    (ended,) = (event for event in told if event["name"] == "agent_tool_end")
    assert (ended["tool"], ended["result"]) == ("look_up", "The sky over Paris is blue.")
    assert said(told) == [("user", "tone 440"), ("assistant", "I heard tone 440.")]
    assert [event["status"] for event in told if event["name"] == "response.done"] == ["completed", "completed"]


async def test_speaking_over_the_answer_stops_it(node: str, suite: Suite) -> None:
    told = await hold(node, suite, "barge_in")
    order = names(told)
    assert order.index("input_audio_buffer.speech_started") < order.index("audio_interrupted")
    cut, answer = (event for event in told if event["name"] == "response.done")
    assert (cut["status"], cut["reason"], answer["status"]) == ("cancelled", "turn_detected", "completed")
    (truncated,) = (event for event in told if event["name"] == "conversation.item.truncated")
    assert 0 < truncated["audio_end_ms"] < 5000
    assert said(told)[-2:] == [("user", "tone 880"), ("assistant", "I heard tone 880.")]
