"""Audio that waits a moment for more."""

import asyncio

import pytest

from gateway.listeners import held
from gateway.listeners.held import Held
from tests.support.waiting import until

ENOUGH = 10


class Listener:
    """Keeps what is poured out; `patient` as it is set."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.patient = True
        self.held = Held(self.heard.append, lambda: self.patient)

    def says(self, *audio: bytes) -> list[bytes]:
        """Put *audio*; return all that was poured out until now."""
        for piece in audio:
            self.held.put(piece, ENOUGH)
        return self.heard


async def test_audio_goes_at_once_where_it_must_not_wait() -> None:
    listener = Listener()
    listener.patient = False
    assert listener.says(b"ab", b"cd") == [b"ab", b"cd"]


async def test_audio_that_may_wait_goes_together_once_there_is_enough() -> None:
    listener = Listener()
    assert listener.says(b"abcd", b"efgh") == []
    assert listener.says(b"ijkl", b"m") == [b"abcdefghijkl"]


async def test_what_waited_goes_with_the_first_that_must_not() -> None:
    listener = Listener()
    listener.says(b"ab")
    listener.patient = False
    assert listener.says(b"cd") == [b"abcd"]


async def test_a_long_message_is_not_joined_to_what_waited() -> None:
    assert Listener().says(b"ab", b"c" * ENOUGH) == [b"ab", b"c" * ENOUGH]


async def test_what_waits_goes_before_anything_else_that_comes() -> None:
    listener = Listener()
    listener.says(b"ab")
    listener.held.pour()
    listener.held.pour()
    assert listener.heard == [b"ab"]


async def test_what_a_client_sent_last_goes_when_nothing_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held, "LONGEST_S", 0.001)
    listener = Listener()
    listener.says(b"ab")
    await until(lambda: listener.heard == [b"ab"])


async def test_nothing_of_a_client_that_is_gone_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held, "LONGEST_S", 0.0)
    listener = Listener()
    listener.says(b"ab")
    listener.held.close()
    listener.held.close()
    for _ in range(5):
        await asyncio.sleep(0)
    assert listener.heard == []
