"""The flags as promised to users."""

import pytest

from bus.settings import parse
from gateway.settings import MODES, GatewaySettings, join_modes

PROMISED: dict[str, object] = {
    "recv_host": "localhost",
    "recv_port": 12345,
    "chunk_size": 1024,
    "send_host": "localhost",
    "send_port": 12346,
    "ws_host": "0.0.0.0",
    "ws_port": 8765,
}


def told(*args: str) -> GatewaySettings:
    """Return the settings that the flags *args* give."""
    return parse(GatewaySettings, join_modes(list(args)), "gateway")


def test_the_promised_flags_have_their_promised_defaults() -> None:
    settings = told()
    assert {name: getattr(settings, name) for name in PROMISED} == PROMISED


def test_the_promised_flags_have_no_prefix() -> None:
    changed = {"recv_host": "0.0.0.0", "recv_port": 1, "chunk_size": 2048, "send_host": "10.0.0.7", "send_port": 2}
    changed |= {"ws_host": "127.0.0.1", "ws_port": 3}
    assert set(changed) == set(PROMISED)
    settings = told(*[word for name, value in changed.items() for word in (f"--{name}", str(value))])
    assert {name: getattr(settings, name) for name in PROMISED} == changed


def test_the_environment_is_read_and_flags_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_RECV_PORT", "7")
    monkeypatch.setenv("GATEWAY_MODE", "websocket")
    assert (told().recv_port, told().mode) == (7, ["websocket"])
    assert told("--recv_port", "8").recv_port == 8


@pytest.mark.parametrize(
    ("args", "modes"),
    [
        ([], list(MODES)),
        (["--mode", "socket"], ["socket"]),
        (["--mode", "socket,websocket"], ["socket", "websocket"]),
        (["--mode", "websocket", "socket"], ["websocket", "socket"]),
        (["--mode", "socket", "--mode", "websocket"], ["socket", "websocket"]),
        (["--mode", "socket", "socket"], ["socket"]),
        (["--mode", "socket", "websocket", "--recv_port", "1"], ["socket", "websocket"]),
    ],
    ids=" ".join,
)
def test_modes_may_be_listed_in_any_way(args: list[str], modes: list[str]) -> None:
    assert told(*args).mode == modes


def test_words_that_are_modes_by_chance_are_left_alone() -> None:
    args = ["--voice", "socket", "--language", "websocket"]
    assert join_modes(args) == args


@pytest.mark.parametrize(
    ("args", "flag"),
    [
        (["--mode", "smoke"], "--mode"),
        (["--mode", ","], "--mode"),
        (["--recv_port", "65536"], "--recv_port"),
        (["--recv_port", "many"], "--recv_port"),
        (["--chunk_size", "1"], "--chunk_size"),
        (["--threshold", "1.5"], "--threshold"),
        (["--lead_ms", "5"], "--lead_ms"),
        (["--send_mode", "sometimes"], "--send_mode"),
    ],
    ids=" ".join,
)
def test_a_bad_value_ends_with_status_2_and_one_line_that_names_the_flag(
    args: list[str], flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        told(*args)
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert flag in line
