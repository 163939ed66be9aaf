"""The command, whole: processes started, loaded, measured, reported."""

import json
from pathlib import Path

import pytest

from launcher.errors import LauncherError, UsageError
from launcher.load import main
from tests.support.bus import ipc_folder


def test_a_service_is_started_loaded_and_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "run.json"
    args = ["llm", "--speech", "babble", "--sessions", "6", "--seconds", "5", "--processes", "2"]
    status = main([*args, "--json", str(file), "--", "--words", "5"])
    told = json.loads(file.read_text())
    (step,) = told["steps"]
    assert step["counts"]["turns"] == step["counts"]["answered"] >= 6
    assert (step["errors"], step["broken"]) == ({}, {})
    assert step["processes"]["llm"]["memory_mb"] > 10
    assert step["told"]["llm"]["request to first token"]["n"] == step["counts"]["turns"]
    assert told["cold_start_s"] > 0
    shown = capsys.readouterr().out
    assert f"{step['counts']['turns']} asked" in shown
    # A busy machine may void the run: then the command says that, and nothing else.
    assert status == (3 if step["void"] else 0 if not step["missed"] else 1)


def test_the_gateway_is_loaded_through_realtime(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    main(
        [
            *[
                "gateway",
                "--vad",
                "energy",
                "--speech",
                "babble",
                "--sessions",
                "2",
                "--seconds",
                "6",
                "--barge_ins",
                "0",
            ],
            "--json",
            str(file),
        ]
    )
    (step,) = json.loads(file.read_text())["steps"]
    assert step["counts"]["turns"] == step["counts"]["answered"] == 2
    assert {"latency", "voice_to_voice"} <= set(step["times"])
    assert set(step["processes"]) == {"gateway", "vad", "asr", "llm", "tts"}
    assert step["told"]["gateway"]["turn"]["n"] == 2


def test_an_engine_that_cannot_work_is_told_in_one_line() -> None:
    with pytest.raises(UsageError, match="none") as raised:
        main(["asr", "--speech", "babble", "--engine", "none", "--seconds", "5"])
    assert "\n" not in str(raised.value)


def test_a_generator_that_cannot_work_is_told() -> None:
    with ipc_folder() as folder, pytest.raises(LauncherError):
        main(["asr", "--speech", "babble", "--seconds", "5", "--bind", f"ipc://{folder}/none/inbox.ipc"])


def test_a_page_is_not_promised_without_what_draws_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UsageError, match="pip install matplotlib"):
        main(["llm", "--html", "page.html"])
