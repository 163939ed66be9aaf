"""An inbox that is bound by a name is bound to the number that this host has by that name."""

import socket
from collections.abc import Callable

import pytest

from bus.own_host import numbered

# Of the range for documentation: nobody has them.
OTHERS = ("203.0.113.1", "203.0.113.2")


@pytest.fixture
def name(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let every name stand for the given numbers."""

    def stands_for(*numbers: str) -> None:
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (number, 7702)) for number in numbers]
        monkeypatch.setattr("bus.own_host.socket.getaddrinfo", lambda *_, **__: found)

    return stands_for


def test_a_name_that_replicas_share_becomes_the_own_number(name: Callable[..., None]) -> None:
    name(OTHERS[0], "127.0.0.1", OTHERS[1])
    assert numbered("tcp://asr.bus:7702") == "tcp://127.0.0.1:7702"


def test_a_name_of_others_stays_and_cannot_be_bound(name: Callable[..., None]) -> None:
    name(*OTHERS)
    assert numbered("tcp://asr.bus:7702") == "tcp://asr.bus:7702"


@pytest.mark.parametrize(
    "address",
    [
        "tcp://127.0.0.1:0",
        "tcp://0.0.0.0:7702",
        "tcp://[::1]:7702",
        "tcp://*:7702",
        "tcp://no.such.invalid:1",
        "ipc:///x",
    ],
)
def test_numbers_and_what_no_name_server_knows_stay(address: str) -> None:
    assert numbered(address) == address


def test_localhost_can_be_bound() -> None:
    assert numbered("tcp://localhost:7702") == "tcp://127.0.0.1:7702"
