"""An inbox that is bound by a name is bound to the number that this host has by that name."""

import socket
from collections.abc import Callable

import pytest

from bus.own_host import is_name, numbered

# Of the range for documentation: nobody has them.
OTHERS = ("203.0.113.1", "203.0.113.2")


@pytest.fixture
def name_server(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let the name server answer so, one after the other, the last for ever."""

    def answers(*lists: tuple[str, ...]) -> None:
        left = list(lists)

        def getaddrinfo(*_: object, **__: object) -> list[tuple[object, ...]]:
            numbers = left.pop(0) if len(left) > 1 else left[0]
            if not numbers:
                raise socket.gaierror
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (number, 0)) for number in numbers]

        monkeypatch.setattr("bus.own_host.socket.getaddrinfo", getaddrinfo)
        monkeypatch.setattr("bus.own_host.PAUSE_S", 0)

    return answers


def test_a_name_that_replicas_share_becomes_the_own_number(name_server: Callable[..., None]) -> None:
    name_server((OTHERS[0], "127.0.0.1", OTHERS[1]))
    assert numbered("tcp://asr.bus:7702") == "tcp://127.0.0.1:7702"


def test_a_name_server_that_learns_of_us_late_is_asked_again(name_server: Callable[..., None]) -> None:
    name_server((), OTHERS, (*OTHERS, "127.0.0.1"))
    assert numbered("tcp://asr.bus:7702") == "tcp://127.0.0.1:7702"


@pytest.mark.parametrize("numbers", [(), OTHERS])
def test_a_name_of_others_stays_and_cannot_be_bound(
    name_server: Callable[..., None], numbers: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    name_server(numbers)
    monkeypatch.setattr("bus.own_host.PATIENCE_S", 0)
    assert numbered("tcp://asr.bus:7702") == "tcp://asr.bus:7702"


@pytest.mark.parametrize(
    "address",
    [
        "tcp://127.0.0.1:0",
        "tcp://0.0.0.0:7702",
        "tcp://[::1]:7702",
        "tcp://203.0.113.1:7702",
        "tcp://*:7702",
        "tcp://lo:7702",
        "ipc:///x",
    ],
)
def test_what_is_no_name_stays(address: str) -> None:
    assert numbered(address) == address


def test_localhost_can_be_bound() -> None:
    assert numbered("tcp://localhost:7702") == "tcp://127.0.0.1:7702"


def test_localhost_is_a_name_and_a_number_is_none() -> None:
    assert is_name("tcp://localhost:7700")
    assert not is_name("tcp://127.0.0.1:7700")
    assert not is_name("tcp://[::1]:7700")
    assert not is_name("ipc:///run/x")
