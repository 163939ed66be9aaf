"""What is logged, and what never is."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from bus import logs
from bus.logs import OncePerSecond

CANARY = "the nightingale sings at nine"


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Leave logging as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def fail() -> None:
    try:
        dict[str, int]()[CANARY]
    except KeyError as error:
        raise RuntimeError(f"cannot say {CANARY}") from error


def test_a_record_is_one_line_of_json_that_names_the_service(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("asr", style="json")
    structlog.get_logger("any").info("ready", engine="scripted", text="é")
    logging.getLogger("a.library").warning("careful %d", 5)
    ours, theirs = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert (ours["event"], ours["service"], ours["level"], ours["text"]) == ("ready", "asr", "info", "é")
    assert (theirs["event"], theirs["service"], theirs["level"]) == ("careful 5", "asr", "warning")
    assert ours["timestamp"].endswith("Z")


def test_what_is_below_the_level_is_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("asr", "warning", "json")
    structlog.get_logger("any").info("ready")
    logging.getLogger("a.library").info("ready")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("style", ["json", "console"])
@pytest.mark.parametrize("source", ["ours", "a library's"])
def test_an_exception_is_logged_by_type_and_place_without_its_text(
    capsys: pytest.CaptureFixture[str], style: logs.LogFormat, source: str
) -> None:
    logs.configure("asr", style=style)
    try:
        fail()
    except RuntimeError:
        log = structlog.get_logger("any") if source == "ours" else logging.getLogger("a.library")
        log.exception("job crashed")
    written = capsys.readouterr().err
    assert "RuntimeError" in written
    assert "KeyError" in written
    assert "in fail" in written
    assert "nightingale" not in written


def test_the_text_of_an_exception_is_logged_where_content_is_allowed(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("asr", style="json", content=True)
    try:
        fail()
    except RuntimeError:
        structlog.get_logger("any").exception("job crashed")
    assert CANARY in capsys.readouterr().err


def test_of_a_kind_one_a_second_passes_and_counts_those_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("bus.logs.time.monotonic", lambda: now)
    limit = OncePerSecond()
    assert [limit.held_back("a") for _ in range(3)] == [0, None, None]
    assert limit.held_back("b") == 0
    now = 101.0
    assert limit.held_back("a") == 2
    now = 102.5
    assert limit.held_back("a") == 0
