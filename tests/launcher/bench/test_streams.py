"""What quiet people cost the gateway: measured at a small crowd, and a profile read."""

import pytest

from launcher.bench import floor, streams
from launcher.load.clients.mouths import PROTOCOLS


async def test_frames_of_every_protocol_are_measured() -> None:
    with streams.suite_for(2) as suite:
        for protocol in PROTOCOLS:
            assert await streams.cpu_ms(suite, protocol, 40, 2, 0.3) >= 0
        assert suite.health()["status"] == "ok"


def test_the_hottest_functions_come_first() -> None:
    stacks = "main (a.py:1);send (b.py:2) 3\nmain (a.py:1) 1\nodd line\nmain (a.py:1);other (c.py:9);send (b.py:2) 4\n"
    assert streams.hottest(stacks) == ("  88%  send (b.py:2)", "  12%  main (a.py:1)")
    assert streams.hottest("") == ("no samples",)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_least_that_a_frame_costs_is_more_than_nothing(protocol: str) -> None:
    assert 0 < floor.frame_us(protocol, 20) < 100_000
