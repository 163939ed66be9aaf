"""Who may come in: keys in headers and subprotocols, keys for a while, web pages."""

from collections.abc import Iterator
from typing import Any

import pytest
import websockets
from openai import AuthenticationError
from websockets.typing import Subprotocol

from launcher.bench.suite import Suite, running_suite
from tests.e2e.realtime.clients import SCRIPT, async_client

KEY = "a key of this server"
PAGE = "https://shop.example"


@pytest.fixture(scope="module")
def locked() -> Iterator[Suite]:
    with running_suite(flags={**SCRIPT, "gateway": ["--api_keys", KEY, "--allowed_origins", PAGE]}) as running:
        yield running


async def session_of(suite: Suite, key: str) -> Any:
    """Return the session that *key* opens."""
    async with async_client(suite, key) as client, client.realtime.connect(model="any") as connection:
        created: Any = await connection.recv()
        assert created.type == "session.created"
        return created.session


async def test_the_key_opens_a_session(locked: Suite) -> None:
    assert (await session_of(locked, KEY)).id


async def test_a_wrong_key_is_told_so_and_the_connection_closed(locked: Suite) -> None:
    async with async_client(locked, "another") as client:
        async with client.realtime.connect(model="any") as connection:
            refused: Any = await connection.recv()
            assert (refused.type, refused.error.code) == ("error", "invalid_api_key")
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await connection.recv()
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (
                3000,
                "invalid_request_error.invalid_api_key",
            )
        with pytest.raises(AuthenticationError):
            await client.models.list()


async def test_a_key_for_a_while_opens_the_session_that_it_was_made_for(locked: Suite) -> None:
    async with async_client(locked, KEY) as client:
        secret = await client.realtime.client_secrets.create(
            expires_after={"anchor": "created_at", "seconds": 60},
            session={"type": "realtime", "instructions": "You sell shoes."},
        )
    assert secret.value.startswith("ek_")
    assert (await session_of(locked, secret.value)).instructions == "You sell shoes."


async def test_beta_makes_keys_for_a_while_of_its_own(locked: Suite) -> None:
    async with async_client(locked, KEY) as client:
        made = await client.beta.realtime.sessions.create(instructions="You sell hats.", voice="alloy")
    async with (
        async_client(locked, made.client_secret.value) as client,
        client.beta.realtime.connect(model="any") as connection,
    ):
        created: Any = await connection.recv()
    assert created.session.instructions == "You sell hats."


def as_a_browser(suite: Suite, page: str, key: str) -> websockets.connect:
    """Dial as browsers do: no headers, the key among the subprotocols."""
    offered = [Subprotocol("realtime"), Subprotocol(f"openai-insecure-api-key.{key}")]
    url = f"ws://127.0.0.1:{suite.ws_port}/v1/realtime?model=any"
    return websockets.connect(url, subprotocols=offered, origin=websockets.Origin(page), proxy=None)


async def test_a_browser_comes_in_with_a_key_for_a_while(locked: Suite) -> None:
    async with async_client(locked, KEY) as client:
        secret = await client.realtime.client_secrets.create()
    async with as_a_browser(locked, PAGE, secret.value) as websocket:
        assert websocket.subprotocol == "realtime"
        assert "session.created" in str(await websocket.recv())


async def test_another_page_does_not(locked: Suite) -> None:
    with pytest.raises(websockets.InvalidStatus) as refused:
        async with as_a_browser(locked, "https://elsewhere.example", "ek_any"):
            pass
    assert refused.value.response.status_code == 403
