"""The service as a process: its settings and its exit status."""

import subprocess
import sys

import pytest

from bus.errors import ConfigurationError
from bus.main import configure
from services.llm.__main__ import build
from services.llm.settings import LlmSettings


def test_the_defaults_are_those_of_the_suite() -> None:
    settings, engine = configure("llm", LlmSettings, [])
    assert (settings.engine, settings.bind, settings.health_port) == ("responder", "tcp://127.0.0.1:7703", 9103)
    assert build(engine, settings).accepts == {"generation_request"}


def test_the_flags_of_the_engine_are_flags_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_WORDS", "5")
    settings, _ = configure("llm", LlmSettings, ["--engine", "scripted", "--token_latency", "0.1"])
    assert (settings.engine, settings.words, settings.token_latency) == ("scripted", 5, "0.1")  # type: ignore[attr-defined]


def test_an_unknown_engine_is_named_with_those_there_are() -> None:
    with pytest.raises(ConfigurationError, match=r"openai, responder.*scripted"):
        configure("llm", LlmSettings, ["--engine", "nonesuch"])


def test_what_cannot_work_ends_the_process_with_one_line_and_status_2() -> None:
    flags = [
        "--bind",
        "ipc:///tmp/unused-by-a-process-that-ends.ipc",
        "--health_port",
        "0",
        "--timezone",
        "Mars/Olympus",
    ]
    ended = subprocess.run(
        [sys.executable, "-m", "services.llm", *flags], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 2
    assert "Mars/Olympus" in ended.stderr.splitlines()[-1]
