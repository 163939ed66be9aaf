"""Anything may be sent to a port that clients connect to: nobody else notices, and nothing of it stays.

Bytes, halves of handshakes, mutilated WebSocket frames and HTTP requests, in any order, closed in any way. Behind each
example the suite still answers, at the end it has no session left and holds a conversation. `FUZZ_EXAMPLES=5000` goes
on for longer.
"""

import asyncio
import json
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from launcher.bench.suite import Suite, running_suite
from tests.e2e.listening import assert_nothing_was_raised, hold_a_turn
from tests.support.bus import PATIENCE_S
from tests.support.sound import tone

EXAMPLES: Final = int(os.environ.get("FUZZ_EXAMPLES", "0"))
CI_EXAMPLES: Final = 60
FUZZED = settings(
    max_examples=EXAMPLES or CI_EXAMPLES,
    derandomize=not EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    print_blob=False,
)
# How long is waited for what a server says to nonsense, which may be nothing.
LISTEN_S: Final = 0.01

noise = st.binary(max_size=300) | st.sampled_from([b"", b"\0" * 5000, b"\xff" * 5000, tone(440, 0.3), b"\r\n\r\n" * 50])
pieces = st.lists(noise | st.sampled_from([0.0, 0.005]), max_size=6)
ends = st.sampled_from(["close", "half-close", "reset"])


# -- the socket mode --------------------------------------------------------------------------------------------------

halves = st.lists(st.tuples(st.sampled_from(["speaks", "listens"]), pieces, ends), min_size=1, max_size=4)

# -- HTTP and WebSocket -----------------------------------------------------------------------------------------------

paths = st.sampled_from(
    [
        "/",
        "/?events=1",
        "/health",
        "/v1/realtime",
        "/realtime?model=x",
        "/v1/models",
        "/v1/realtime/client_secrets",
        "/%00",
    ]
)
heads = st.lists(
    st.sampled_from(
        [
            b"Host: x",
            b"Connection: Upgrade",
            b"Upgrade: websocket",
            b"Upgrade: h2c",
            b"Sec-WebSocket-Version: 13",
            b"Sec-WebSocket-Version: 99",
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            b"Sec-WebSocket-Key: short",
            b"Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.x",
            b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=99",
            b"Origin: https://example.org",
            b"Authorization: Bearer \xff",
            b"OpenAI-Beta: realtime=v1",
            b"Content-Length: 5",
            b"Content-Length: -1",
            b"Content-Length: 99999999999999999999",
            b"Transfer-Encoding: chunked",
            b"Expect: 100-continue",
            b"X: " + b"y" * 20_000,
            b"no colon",
            b"\xff\xfe: \0",
        ]
    ),
    max_size=8,
)
methods = st.sampled_from([b"GET", b"POST", b"HEAD", b"OPTIONS", b"PRI", b"", b"G\0T"])
versions = st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/9", b""])
bodies = st.sampled_from([b"", b"{}", b"5\r\nhello\r\n0\r\n\r\n", b"ffffffffffffffff\r\n", b"{" * 5000]) | noise
requests = st.builds(
    lambda method, path, version, head, body: b"\r\n".join(
        [b" ".join([method, path.encode(), version]), *head, b"", body]
    ),
    methods,
    paths,
    versions,
    heads,
    bodies,
)

GOOD_HEAD: Final = (
    "GET {} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def websocket_frame(first: int, length: int, mask: int, payload: bytes) -> bytes:
    """Return a frame whose length need not be that of its *payload*, and which may lack its mask."""
    if length < 126:
        head = bytes([first, mask | length])
    elif length < 2**16:
        head = bytes([first, mask | 126]) + length.to_bytes(2, "big")
    else:
        head = bytes([first, mask | 127]) + length.to_bytes(8, "big")
    return head + (b"\0\0\0\0" if mask else b"") + payload


@st.composite
def websocket_frames(draw: st.DrawFn) -> bytes:
    payload = draw(noise | st.sampled_from([b"\x03\xe8", b"\x03", b"\xff\xff", b'{"type":"response.create"}']))
    opcode = draw(st.sampled_from([0x0, 0x1, 0x2, 0x2, 0x2, 0x3, 0x8, 0x9, 0xA, 0xB, 0xF]))
    flags = draw(st.sampled_from([0x80, 0x80, 0x80, 0x00, 0xC0, 0xF0]))
    length = draw(st.sampled_from([len(payload)] * 6 + [0, 125, 2**16, 2**40, 2**63]))
    return websocket_frame(flags | opcode, length, draw(st.sampled_from([0x80, 0x80, 0x80, 0x00])), payload)


upgraded = st.tuples(
    st.sampled_from(["/", "/?events=1", "/v1/realtime"]), st.lists(websocket_frames() | noise, max_size=8), ends
)


# -- the tests --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield runner


@pytest.fixture(scope="module")
def suite(runner: asyncio.Runner) -> Iterator[Suite]:
    """Run a suite; at its end nobody is left in it, it holds a conversation, and nothing was raised."""
    with running_suite() as running:
        yield running
        running.wait_for(
            lambda health: health["sessions"] == 0 and not any(one["leases"] for one in health["services"])
        )
        runner.run(hold_a_turn(running))
        assert_nothing_was_raised(running)


async def converse(port: int, sent: "list[bytes | float]", end: str) -> bytes:
    """Connect, send what is *sent*, and go as *end* says; return what was heard until then."""
    got = b""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return got
    with suppress(OSError, RuntimeError):  # uvloop raises the latter where the server was quicker
        for piece in sent:
            if isinstance(piece, float):
                await asyncio.sleep(piece)
            else:
                writer.write(piece)
                await writer.drain()
        if end == "half-close":
            writer.write_eof()
        with suppress(TimeoutError):
            got = await asyncio.wait_for(reader.read(65_536), LISTEN_S)
    if end == "reset":
        linger = b"\1\0\0\0\0\0\0\0"
        with suppress(OSError, AttributeError):  # no socket, if the server was quicker
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return got


async def asked(port: int, path: str, body: bytes = b"") -> int:
    """Return the status of a good request that may have a bad *body*."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    method = "POST" if body else "GET"
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    async with asyncio.timeout(PATIENCE_S):
        answer = await reader.read()
    writer.close()
    return int(answer.split(maxsplit=2)[1])


@FUZZED
@given(clients=halves)
def test_the_socket_mode_survives_any_bytes_in_any_order(
    suite: Suite, runner: asyncio.Runner, clients: "list[tuple[str, list[bytes | float], str]]"
) -> None:
    ports = {"speaks": suite.recv_port, "listens": suite.send_port}

    async def all_at_once() -> None:
        await asyncio.gather(*(converse(ports[kind], sent, end) for kind, sent, end in clients))
        assert await asked(suite.ws_port, "/health") in (200, 503)

    runner.run(all_at_once())


@FUZZED
@given(sent=st.lists(requests | noise, min_size=1, max_size=3), end=ends)
def test_the_web_port_survives_any_request(suite: Suite, runner: asyncio.Runner, sent: list[bytes], end: str) -> None:
    async def one_then_a_good_one() -> None:
        got = await converse(suite.ws_port, list(sent), end)
        assert not got.startswith(b"HTTP/1.1 5") or got.startswith(b"HTTP/1.1 503"), got[:300]
        assert await asked(suite.ws_port, "/health") in (200, 503)

    runner.run(one_then_a_good_one())


@FUZZED
@given(client=upgraded)
def test_a_websocket_survives_any_frames(
    suite: Suite, runner: asyncio.Runner, client: tuple[str, list[bytes], str]
) -> None:
    path, frames, end = client

    async def one_then_a_good_request() -> None:
        await converse(suite.ws_port, [GOOD_HEAD.format(path).encode(), 0.005, *frames], end)
        assert await asked(suite.ws_port, "/health") in (200, 503)

    runner.run(one_then_a_good_request())


words = st.sampled_from(
    [
        "session",
        "type",
        "realtime",
        "transcription",
        "model",
        "instructions",
        "tools",
        "audio",
        "expires_after",
        "seconds",
    ]
)
documents: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words | st.text(max_size=5), inner, max_size=5),
    max_leaves=15,
)


@FUZZED
@given(
    path=st.sampled_from(["client_secrets", "sessions", "transcription_sessions"]),
    body=st.one_of(documents.map(lambda told: json.dumps(told).encode()), noise, st.just(b"[" * 100_000)),
)
def test_a_request_for_a_key_is_answered_or_refused_in_words(
    suite: Suite, runner: asyncio.Runner, path: str, body: bytes
) -> None:
    assert runner.run(asked(suite.ws_port, f"/v1/realtime/{path}", body or b" ")) in (200, 400)
