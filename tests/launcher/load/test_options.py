"""What the command can be told, and what it cannot."""

import pytest

from launcher.errors import UsageError
from launcher.load.options import parse


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ("", "required"),
        ("mouse", "invalid choice"),
        ("vad --ramp 10", "FROM:TO:STEP"),
        ("vad --ramp 20:10:5", "FROM:TO:STEP"),
        ("vad --ramp 0:10:5", "FROM:TO:STEP"),
        ("vad --seconds 3", "too short"),
        ("vad --sessions -1", "1 or more"),
        ("vad --barge_ins 2", "0 to 1"),
        ("gateway --engine energy", "--vad"),
        ("gateway --protocol socket --processes 2", "order"),
        ("gateway --target wss://host", "no TLS"),
        ("gateway --target host:port", "HOST:PORT"),
        ("llm --target ipc:///x --profile gpu-8b", "runs already"),
        ("llm --ab=--sessions --json x", "--ab"),
    ],
)
def test_what_cannot_work_is_told_in_one_line(args: str, told: str) -> None:
    with pytest.raises(UsageError, match=told) as raised:
        parse(args.split())
    assert "\n" not in str(raised.value)


def test_a_ramp_is_numbers_or_a_search() -> None:
    assert parse(["vad", "--ramp", "10:35:10"]).ramp == (10, 20, 30)
    assert parse(["vad", "--ramp", "auto"]).ramp == ()
    assert parse(["vad"]).ramp is None


def test_addresses_get_their_usual_ports() -> None:
    assert parse(["gateway", "--target", "ws://box"]).target == "box:8765"
    assert parse(["gateway", "--target", "box:80"]).target == "box:80"
    assert parse(["gateway", "--target", "box", "--protocol", "socket"]).target == "box:12345:12346"
    assert parse(["llm", "--target", "tcp://box:1"]).target == "tcp://box:1"


def test_flags_behind_two_dashes_are_for_what_is_started() -> None:
    options = parse(["asr", "--sessions", "3", "--", "--latency", "0.2"])
    assert (options.sessions, options.flags) == (3, ("--latency", "0.2"))


def test_minutes_are_seconds() -> None:
    assert parse(["asr", "--minutes", "2"]).seconds == 120
