import asyncio
import json
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from launcher import recording, say
from launcher.errors import RefusedError, UnreachableError
from tests.launcher.fake_suite import TONE, events_of_a_turn, tcp_suite, websocket_suite

SPEECH = b"\x01\x10" * 3200


@pytest.fixture
def spoken(tmp_path: Path) -> Path:
    recording.write(tmp_path / "hello.wav", SPEECH)
    return tmp_path / "hello.wav"


async def run(*args: object) -> int:
    """Run `say` beside the fake suite of the test's own loop."""
    return await asyncio.to_thread(say.main, [str(arg) for arg in args])


async def test_a_recording_is_answered_and_the_answer_saved(
    spoken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with websocket_suite() as (port, heard):
        assert await run(spoken, "--ws_port", port, "--out", tmp_path / "reply.wav") == 0
    assert heard.pcm.startswith(SPEECH)
    assert recording.read(tmp_path / "reply.wav") == TONE
    shown = capsys.readouterr().out
    for piece in ('heard       "hello"', '"You said hello." (0.1 s)', "4.5 ms = vad 1.0 + llm 2.5", "reply.wav"):
        assert piece in shown


async def test_the_socket_mode_is_answered_too(spoken: Path, tmp_path: Path) -> None:
    async with tcp_suite() as (recv_port, send_port, _):
        ports = ("--recv_port", recv_port, "--send_port", send_port)
        assert await run(spoken, "--mode", "socket", *ports, "--out", tmp_path / "reply.wav") == 0
    with wave.open(str(tmp_path / "reply.wav")) as reply:
        assert (reply.getframerate(), reply.getnchannels(), reply.getnframes()) == (16000, 1, len(TONE) // 2)


async def test_several_recordings_have_a_connection_and_an_answer_each(spoken: Path, tmp_path: Path) -> None:
    async with websocket_suite() as (port, heard):
        assert await run(spoken, spoken, "--fast", "--ws_port", port, "--out", tmp_path / "reply.wav") == 0
    assert heard.connections == 2
    assert recording.read(tmp_path / "reply-1.wav") == recording.read(tmp_path / "reply-2.wav") == TONE


async def test_json_is_one_object_a_recording(spoken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with websocket_suite() as (port, _):
        assert await run(spoken, spoken, "--fast", "--json", "--ws_port", port) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["answered"] for one in told] == [True, True]
    assert told[0]["heard"] == "hello"
    assert told[0]["own_latency_ms"] == 4.5


def failed(_: int) -> list[dict[str, Any]]:
    events = events_of_a_turn(1)
    return [*events[:-2], events[-1] | {"status": "failed", "message": "tts: gone"}]


def not_understood(_: int) -> list[dict[str, Any]]:
    return events_of_a_turn(1, text="")[:4]


@pytest.mark.parametrize(("answer", "reason"), [(failed, "tts: gone"), (not_understood, "nothing was answered")])
async def test_a_recording_without_an_answer_is_a_failure(
    spoken: Path,
    capsys: pytest.CaptureFixture[str],
    answer: Callable[[int], list[dict[str, Any]]],
    reason: str,
) -> None:
    async with websocket_suite(answer=answer) as (port, _):
        assert await run(spoken, "--fast", "--ws_port", port) == 1
    assert f"NOT ANSWERED: {reason}" in capsys.readouterr().out


async def test_silent_audio_is_no_answer(spoken: Path) -> None:
    async with websocket_suite(tone=bytes(3200)) as (port, _):
        assert await run(spoken, "--fast", "--ws_port", port) == 1


async def test_a_suite_that_hears_nothing_is_given_up(spoken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with websocket_suite(answer=lambda _: []) as (port, _):
        assert await run(spoken, "--fast", "--patience", 0.2, "--ws_port", port) == 1
    assert "NOT ANSWERED: no speech was heard" in capsys.readouterr().out


async def test_a_refusal_is_its_reason(spoken: Path) -> None:
    async with websocket_suite(refuse="at capacity: vad") as (port, _):
        with pytest.raises(RefusedError, match="at capacity: vad"):
            await run(spoken, "--ws_port", port)


@pytest.mark.parametrize("mode", ["websocket", "socket"])
async def test_without_a_suite_it_says_how_to_start_one(spoken: Path, mode: str) -> None:
    async with tcp_suite() as (recv_port, _, _):
        pass  # now nothing listens there
    ports = ("--ws_port", recv_port, "--recv_port", recv_port)
    with pytest.raises(UnreachableError, match="start one with: speech-to-speech"):
        await run(spoken, "--mode", mode, *ports)


def test_answers_go_where_they_are_told(tmp_path: Path) -> None:
    out = tmp_path / "reply.wav"
    assert say.out_path(out, Path("a/x.wav"), 1, 1) == out
    assert say.out_path(out, Path("a/x.wav"), 2, 3) == tmp_path / "reply-2.wav"
    assert say.out_path(tmp_path, Path("a/x.wav"), 1, 1) == tmp_path / "x-answer.wav"
