"""The Python examples of docs/realtime.md, run as they are printed: nothing differs but the port."""

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import trustme

from launcher.bench.suite import Suite, running_suite
from tests.e2e.realtime.clients import SCRIPT, example
from tests.support.bus import PATIENCE_S
from tests.support.sound import dominant_hz, tone

GREETING = ["session.created", "conversation.created", "session.updated"]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an authority and what it certifies: `ca.pem`, `server.pem` and `server.key` in a folder."""
    folder = tmp_path_factory.mktemp("authority")
    made = trustme.CA()
    certificate = made.issue_cert("localhost", "127.0.0.1")
    made.cert_pem.write_to_path(str(folder / "ca.pem"))
    certificate.private_key_pem.write_to_path(str(folder / "server.key"))
    for number, blob in enumerate(certificate.cert_chain_pems):
        blob.write_to_path(str(folder / "server.pem"), append=number > 0)
    return folder


@pytest.fixture(scope="module")
def tls_suite(authority: Path) -> Iterator[Suite]:
    flags = ["--ssl_certfile", str(authority / "server.pem"), "--ssl_keyfile", str(authority / "server.key")]
    with running_suite(flags={**SCRIPT, "gateway": flags}) as running:
        yield running


async def lines_of(code: str, suite: Suite, count: int, **environment: str) -> list[str]:
    """Run an example that never ends by itself; return its first lines."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-u", "-c", code.replace("8765", str(suite.ws_port))),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, **environment},
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE_S):
            return [(await process.stdout.readline()).decode().strip() for _ in range(count)]
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def test_the_beta_example_works_as_printed_where_the_server_speaks_tls(tls_suite: Suite, authority: Path) -> None:
    printed = example('OpenAI(base_url="http://localhost:8765/v1", api_key="not-needed")', "client.beta.realtime")
    trusted = str(authority / "ca.pem")
    assert await lines_of(printed, tls_suite, len(GREETING), SSL_CERT_FILE=trusted) == GREETING


WEBSOCKET_URL = 'websocket_base_url="ws://localhost:8765/v1"'
ON_THE_PLAIN_PORT = {
    "client.beta.realtime.connect": GREETING,
    "client.realtime.connect(model": ["I heard hello."],
    '"intent": "transcription"': ["session.created", "session.updated"],
}


@pytest.mark.parametrize("mark", ON_THE_PLAIN_PORT)
async def test_the_examples_work_on_the_plain_port_with_a_websocket_url(suite: Suite, mark: str) -> None:
    printed = ON_THE_PLAIN_PORT[mark]
    assert await lines_of(example(WEBSOCKET_URL, mark), suite, len(printed)) == printed


async def test_the_example_of_an_ephemeral_key_prints_one(suite: Suite) -> None:
    (printed,) = await lines_of(example("client_secrets.create"), suite, 1)
    assert printed.startswith("ek_")


async def test_the_raw_example_works_as_printed_beside_realtime(suite: Suite, tmp_path: Path) -> None:
    (tmp_path / "input.pcm").write_bytes(tone(440, 0.8))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", example("async def stream_audio").replace("8765", str(suite.ws_port))), cwd=tmp_path
    )
    assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 0
    assert round(dominant_hz((tmp_path / "output.pcm").read_bytes()), -1) in range(400, 490)
