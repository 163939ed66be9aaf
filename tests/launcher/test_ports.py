import asyncio
import socket

import pytest

from launcher import ports


def test_the_usual_port_is_taken_if_it_is_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = listener.getsockname()[1]
        assert not ports.is_free("127.0.0.1", taken)
        assert ports.usual_or_free("127.0.0.1", taken) not in (0, taken)
    assert ports.is_free("127.0.0.1", taken)
    assert ports.usual_or_free("127.0.0.1", taken) == taken
    assert ports.usual_or_free("127.0.0.1", taken, {taken}) != taken


def test_an_unknown_host_has_no_free_ports_and_keeps_its_own() -> None:
    assert not ports.is_free("nowhere.invalid", 80)
    assert ports.usual_or_free("nowhere.invalid", 80) == 80


@pytest.mark.parametrize(("host", "reached"), [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("10.0.0.1", "10.0.0.1")])
def test_all_interfaces_are_reached_by_the_loopback(host: str, reached: str) -> None:
    assert ports.local(host) == reached


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"HTTP/1.0 200 OK\r\n\r\nok\n", ""),
        (b"HTTP/1.0 503 Service Unavailable\r\n\r\nloading\n", "loading"),
        (b"", "no answer yet"),
        (b"rubbish", "no answer yet"),
    ],
)
async def test_readiness_is_what_the_port_says(answer: bytes, problem: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        assert await ports.why_not_ready("0.0.0.0", server.sockets[0].getsockname()[1]) == problem


async def test_a_process_that_does_not_listen_yet_is_not_ready() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert await ports.why_not_ready("127.0.0.1", port) == "no answer yet"
