"""Realtime clients at the port: how they come in, what they are told, how they leave."""

import asyncio
import json
import shutil
import ssl
import subprocess
import urllib.error
import urllib.request
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from gateway.core.realtime.hearing import Hearing
from gateway.listeners.realtime import Allowance
from gateway.listeners.web import WebListener
from gateway.protocols.realtime.codec import Codec
from tests.gateway.suite import Suite, suite, told, tone
from tests.support.bus import PATIENCE_S
from tests.support.waiting import until

BETA = {"OpenAI-Beta": "realtime=v1"}
PATHS = ["/v1/realtime", "/realtime", "/openai/v1/realtime"]
PROTOCOLS = ["realtime", "openai-insecure-api-key.sk-1"]


@asynccontextmanager
async def listening(here: Suite, **flags: Any) -> AsyncIterator[WebListener]:
    listener = WebListener(here.link, told(**flags))
    await listener.start()
    try:
        yield listener
    finally:
        await listener.stop()


@pytest.fixture
async def here() -> AsyncIterator[Suite]:
    async with suite() as here:
        yield here


@pytest.fixture
async def listener(here: Suite) -> AsyncIterator[WebListener]:
    async with listening(here) as listener:
        yield listener


def dial(listener: WebListener, path: str = "/v1/realtime?model=m", **options: Any) -> connect:
    """Return the connection of a client that takes frames of 1 MiB, as stock ones do."""
    return connect(f"ws://{listener.listening_on}{path}", proxy=None, **options)


async def told_next(client: ClientConnection, kind: str = "") -> dict[str, Any]:
    """Return the next event, or the next of a type."""
    while True:
        event: dict[str, Any] = json.loads(await asyncio.wait_for(client.recv(), PATIENCE_S))
        if kind in ("", event["type"]):
            return event


async def say(client: ClientConnection, kind: str, **fields: Any) -> None:
    await client.send(json.dumps({"type": kind, **fields}))


async def end_of(client: ClientConnection) -> tuple[list[dict[str, Any]], int | None, str | None]:
    """Return the events until the server closes, its code and its reason."""
    events = []
    try:
        while True:
            events.append(await told_next(client))
    except ConnectionClosed:
        return events, client.close_code, client.close_reason


async def ask(listener: WebListener, path: str, body: Any = None, key: str = "") -> tuple[int, dict[str, Any]]:
    """Return status and body of an HTTP request; POST if there is something to send."""

    def request() -> tuple[int, dict[str, Any]]:
        sent = None if body is None else (body if isinstance(body, bytes) else json.dumps(body).encode())
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        url = urllib.request.Request(f"http://{listener.listening_on}{path}", sent, headers)
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:  # noqa: S310 - the same
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    return await asyncio.to_thread(request)


# -- coming in --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
async def test_a_session_is_created_wherever_clients_look_for_it(listener: WebListener, path: str) -> None:
    async with dial(listener, f"{path}?model=my-model&unknown=1") as client:
        session = (await told_next(client, "session.created"))["session"]
        assert (session["type"], session["model"], session["object"]) == ("realtime", "my-model", "realtime.session")
        assert session["id"].startswith("sess_")
        assert client.subprotocol is None


async def test_a_model_need_not_be_named(listener: WebListener) -> None:
    async with dial(listener, "/v1/realtime") as client:
        assert (await told_next(client))["session"]["model"]


async def test_beta_clients_are_told_of_their_conversation(listener: WebListener) -> None:
    async with dial(listener, additional_headers=BETA) as client:
        session = (await told_next(client))["session"]
        assert (session["modalities"], session["client_secret"]) == (["audio", "text"], None)
        assert (await told_next(client))["conversation"]["object"] == "realtime.conversation"


@pytest.mark.parametrize(("headers", "kind"), [({}, "session.created"), (BETA, "transcription_session.created")])
async def test_transcription_sessions(listener: WebListener, headers: dict[str, str], kind: str) -> None:
    async with dial(listener, "/v1/realtime?intent=transcription", additional_headers=headers) as client:
        created = await told_next(client)
        assert created["type"] == kind
        assert created["session"]["object"] == "realtime.transcription_session"
        await say(client, "response.create", event_id="r")
        assert (await told_next(client, "error"))["error"]["event_id"] == "r"


async def test_browsers_get_the_protocol_that_they_need(listener: WebListener) -> None:
    async with dial(listener, subprotocols=[*PROTOCOLS, "openai-beta.realtime-v1"]) as client:
        assert client.subprotocol == "realtime"
        assert "modalities" in (await told_next(client))["session"]


async def test_events_sent_before_the_session_is_created_are_served_after_it(listener: WebListener) -> None:
    async with dial(listener) as client:
        for number in range(5):
            await say(client, "conversation.item.retrieve", item_id="none", event_id=f"e{number}")
        kinds = [await told_next(client) for _ in range(6)]
    assert kinds[0]["type"] == "session.created"
    assert [event["error"]["event_id"] for event in kinds[1:]] == [f"e{number}" for number in range(5)]


async def test_unknown_calls_are_refused(listener: WebListener) -> None:
    async with dial(listener, "/v1/realtime?call_id=rtc_1") as client:
        (event,), code, _ = await end_of(client)
    assert (event["error"]["param"], code) == ("call_id", 3000)


# -- who may come in --------------------------------------------------------------------------------------------------

KEY = {"Authorization": "Bearer sk-2"}


@pytest.mark.parametrize(
    "shown",
    [
        {"additional_headers": KEY},
        {"additional_headers": {"api-key": "sk-1"}},
        {"subprotocols": PROTOCOLS},
    ],
    ids=["header", "azure", "browser"],
)
async def test_any_of_the_keys_opens_the_door(here: Suite, shown: dict[str, Any]) -> None:
    async with listening(here, api_keys="sk-1,sk-2") as listener, dial(listener, **shown) as client:
        assert (await told_next(client))["type"] == "session.created"


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer sk-3"}, {"Authorization": "Bearer ek_none"}])
async def test_without_a_key_the_only_event_is_an_error(here: Suite, headers: dict[str, str]) -> None:
    async with listening(here, api_keys=["sk-1"]) as listener, dial(listener, additional_headers=headers) as client:
        (event,), code, reason = await end_of(client)
        assert event["error"]["code"] == "invalid_api_key"
        assert (code, reason) == (3000, "invalid_request_error.invalid_api_key")
        assert (await ask(listener, "/v1/models"))[0] == 401
        assert (await ask(listener, "/v1/realtime/client_secrets", {}, "sk-3"))[0] == 401


async def test_raw_clients_need_a_key_too(here: Suite) -> None:
    async with listening(here, api_keys=["sk-2"]) as listener:
        with pytest.raises(InvalidStatus):
            await dial(listener, "/")
        async with dial(listener, "/?events=1", additional_headers=KEY) as client:
            assert json.loads(await client.recv())["type"] == "session"


async def test_only_pages_that_are_allowed_may_connect(here: Suite) -> None:
    async with listening(here, allowed_origins="https://a.example,https://b.example") as listener:
        for path in ("/v1/realtime", "/"):
            with pytest.raises(InvalidStatus):
                await dial(listener, path, origin="https://c.example")
        async with dial(listener, origin="https://b.example") as client, dial(listener) as no_browser:
            assert (await told_next(client))["type"] == "session.created"
            assert (await told_next(no_browser))["type"] == "session.created"


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        (
            "/v1/realtime/client_secrets",
            {
                "expires_after": {"anchor": "created_at", "seconds": 60},
                "session": {"type": "realtime", "instructions": "Sing."},
            },
            {},
        ),
        ("/v1/realtime/sessions", {"instructions": "Sing.", "modalities": ["text"]}, BETA),
    ],
)
async def test_an_ephemeral_key_carries_its_session(
    here: Suite, path: str, body: dict[str, Any], headers: dict[str, str]
) -> None:
    async with listening(here, api_keys=["sk-1"]) as listener:
        status, minted = await ask(listener, path, body, "sk-1")
        assert status == 200
        secret = minted if "value" in minted else minted["client_secret"]
        assert secret["value"].startswith("ek_")
        shown = {"Authorization": f"Bearer {secret['value']}", **headers}
        async with dial(listener, additional_headers=shown) as client:
            assert (await told_next(client))["session"]["instructions"] == "Sing."
        assert (await ask(listener, path, body, secret["value"]))[0] == 401


async def test_keys_for_transcription(listener: WebListener) -> None:
    status, minted = await ask(listener, "/v1/realtime/transcription_sessions", {"input_audio_format": "g711_ulaw"})
    assert (status, minted["object"]) == (200, "realtime.transcription_session")
    shown = {"Authorization": f"Bearer {minted['client_secret']['value']}"}
    async with dial(listener, additional_headers=shown) as client:
        session = (await told_next(client))["session"]
    assert (session["type"], session["audio"]["input"]["format"]) == ("transcription", {"type": "audio/pcmu"})


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{", None),
        (b"[]", "body"),
        ({"session": {"type": "realtime", "speed": 1}}, "session.speed"),
        ({"expires_after": {"seconds": 9}}, "expires_after.seconds"),
        ({"session": {"type": "x"}}, "session.type"),
    ],
)
async def test_bad_requests_for_keys_are_answered(listener: WebListener, body: Any, param: str | None) -> None:
    status, answer = await ask(listener, "/v1/realtime/client_secrets", body)
    assert (status, answer["error"]["param"]) == (400, param)


async def test_models_are_listed(listener: WebListener) -> None:
    status, answer = await ask(listener, "/v1/models")
    assert (status, answer["object"]) == (200, "list")
    assert {"id", "object", "created", "owned_by"} == set(answer["data"][0])


# -- conversations ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [{}, BETA], ids=["ga", "beta"])
async def test_mistakes_are_answered_and_the_session_goes_on(listener: WebListener, headers: dict[str, str]) -> None:
    async with dial(listener, additional_headers=headers) as client:
        for mistake in (b"\x00", "{", "[]", '{"type":"x"}', '{"type":"session.update"}'):
            await client.send(mistake)
            assert set((await told_next(client, "error"))["error"]) == {"type", "code", "message", "param", "event_id"}
        session = {"instructions": "new"} if headers else {"type": "realtime", "instructions": "new"}
        await say(client, "session.update", session=session)
        assert (await told_next(client, "session.updated"))["session"]["instructions"] == "new"


@pytest.mark.parametrize("headers", [{}, BETA], ids=["ga", "beta"])
async def test_what_is_said_is_answered(listener: WebListener, headers: dict[str, str]) -> None:
    speech = tone(7, 24_000) + bytes(24_000)
    async with dial(listener, additional_headers=headers) as client:
        await told_next(client, "session.created")
        for start in range(0, len(speech), 960):
            await say(client, "input_audio_buffer.append", audio=b64encode(speech[start : start + 960]).decode())
        await told_next(client, "input_audio_buffer.speech_started")
        await told_next(client, "input_audio_buffer.committed")
        assert await told_next(client, "response.audio.delta" if headers else "response.output_audio.delta")
        done = (await told_next(client, "response.done"))["response"]
    assert done["status"] == "completed"
    assert done["output"][0]["content"][0]["type"] == ("audio" if headers else "output_audio")


async def test_frames_as_large_as_the_longest_audio_are_taken(listener: WebListener) -> None:
    async with dial(listener, max_size=None) as client:
        await say(client, "session.update", session={"type": "realtime", "audio": {"input": {"turn_detection": None}}})
        await say(client, "input_audio_buffer.append", audio="A" * (20 * 1024 * 1024 + 4))
        event = await told_next(client, "error")
    assert event["error"]["param"] == "audio"


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[str, str]:
    """Return the files of a certificate for this machine and of its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl to make a certificate with")
    certfile, keyfile = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    made = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([openssl, *made, *names, "-keyout", keyfile, "-out", certfile], check=True, capture_output=True)
    return certfile, keyfile


async def test_the_whole_port_can_speak_tls(here: Suite, certificate: tuple[str, str]) -> None:
    trusting = ssl.create_default_context(cafile=certificate[0])
    async with listening(here, ssl_certfile=certificate[0], ssl_keyfile=certificate[1]) as listener:
        for path, kind in (("/v1/realtime", "session.created"), ("/?events=1", "session")):
            url = f"wss://{listener.listening_on}{path}"
            async with connect(url, proxy=None, ssl=trusting) as client:
                assert (await told_next(client))["type"] == kind


@pytest.mark.parametrize("beta", [False, True], ids=["ga", "beta"])
async def test_the_openai_package_holds_a_conversation(listener: WebListener, beta: bool) -> None:
    openai = pytest.importorskip("openai")
    client = openai.AsyncOpenAI(api_key="not-needed", websocket_base_url=f"ws://{listener.listening_on}/v1")
    async with client, (client.beta if beta else client).realtime.connect(model="model_name") as connection:
        kind = {} if beta else {"type": "realtime"}
        await connection.session.update(session={"instructions": "Be kind.", **kind})
        await connection.conversation.item.create(
            item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": "7"}]}
        )
        await connection.response.create()
        kinds = []
        async with asyncio.timeout(PATIENCE_S):
            async for event in connection:
                kinds.append(event.type)
                if event.type == "response.done":
                    break
    assert event.response.status == "completed"
    assert ("response.audio.delta" if beta else "response.output_audio.delta") in kinds


# -- limits -----------------------------------------------------------------------------------------------------------


async def test_no_room_means_come_again_later(here: Suite) -> None:
    async with listening(here, max_sessions=1) as listener, dial(listener) as first:
        await told_next(first)
        async with dial(listener) as second:
            (event,), code, _ = await end_of(second)
    assert (event["error"]["code"], event["error"]["type"], code) == ("session_limit_reached", "server_error", 1013)


@pytest.mark.parametrize("headers", [{}, BETA], ids=["ga", "beta"])
async def test_a_session_has_its_time(here: Suite, headers: dict[str, str]) -> None:
    lives = {"beta_session_minutes" if headers else "session_minutes": 0.001}
    async with listening(here, **lives) as listener, dial(listener, additional_headers=headers) as client:
        events, code, reason = await end_of(client)
    assert events[-1]["error"]["code"] == "session_expired"
    assert code == 1001
    assert reason == events[-1]["error"]["message"]


async def retrieved(client: ClientConnection, numbers: range) -> list[int]:
    """Ask for items that there are not; return the numbers of the requests that are answered."""
    for number in numbers:
        await say(client, "conversation.item.retrieve", item_id="none", event_id=str(number))
    return [int((await told_next(client, "error"))["error"]["event_id"]) for _ in numbers]


async def appended(client: ClientConnection, numbers: range) -> list[int]:
    """Append 1 ms of audio for each number, which is all of its samples; return the numbers that were heard."""
    await say(client, "session.update", session={"type": "realtime", "audio": {"input": {"turn_detection": None}}})
    for number in numbers:
        await say(client, "input_audio_buffer.append", audio=b64encode(number.to_bytes(2, "little") * 24).decode())
    await say(client, "input_audio_buffer.commit")
    item_id = (await told_next(client, "input_audio_buffer.committed"))["item_id"]
    await say(client, "conversation.item.retrieve", item_id=item_id)
    item = (await told_next(client, "conversation.item.retrieved"))["item"]
    pcm = b64decode(item["content"][0]["audio"])
    assert len(pcm) == 48 * len(numbers)
    return [int.from_bytes(pcm[at : at + 2], "little") for at in range(0, len(pcm), 48)]


@pytest.mark.parametrize("sent", [retrieved, appended])
async def test_a_client_that_sends_too_much_is_read_slowly_and_loses_nothing(
    here: Suite, sent: Callable[[ClientConnection, range], Awaitable[list[int]]]
) -> None:
    async with listening(here, max_events_per_s=100) as listener, dial(listener) as client:
        await told_next(client)
        began = asyncio.get_running_loop().time()
        assert await sent(client, range(230)) == list(range(230))
        assert asyncio.get_running_loop().time() - began >= 0.25


def broken(*_: object) -> None:
    raise ZeroDivisionError("canary")


def test_a_client_may_save_up_two_seconds_of_events() -> None:
    allowance = Allowance(100)
    for _ in range(200):
        assert allowance.wait_s(5.0) == 0
        allowance.count(5.0)
    assert allowance.wait_s(5.0) == allowance.wait_s(5.0) == pytest.approx(0.01)
    allowance.count(5.0)
    assert allowance.wait_s(5.0) == pytest.approx(0.02)
    assert allowance.wait_s(5.5) == 0
    allowance.count(1000.0)  # what was saved up before is not more than two seconds
    for _ in range(199):
        assert allowance.wait_s(1000.0) == 0
        allowance.count(1000.0)
    assert allowance.wait_s(1000.0) > 0


async def test_a_bug_closes_the_connection_in_the_way_of_the_protocol(
    listener: WebListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Hearing, "append", broken)
    async with dial(listener) as client:
        await told_next(client)
        await say(client, "input_audio_buffer.append", audio=b64encode(bytes(960)).decode())
        (*_, error), code, reason = await end_of(client)
    assert (error["type"], error["error"]["type"]) == ("error", "server_error")
    assert (code, reason) == (1011, "internal error")


async def test_a_notice_that_cannot_be_written_closes_the_connection_too(
    listener: WebListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with dial(listener) as client:
        await told_next(client)
        monkeypatch.setattr(Codec, "write", broken)
        await say(client, "conversation.item.retrieve", item_id="none")
        assert await end_of(client) == ([], 1011, "internal error")


async def test_clients_are_told_that_the_server_stops(here: Suite) -> None:
    async with listening(here) as listener:
        client = await dial(listener)
        await told_next(client)
    assert (await end_of(client))[1] == 1001
    assert here.link.sessions == 0


async def test_a_client_that_leaves_gives_its_place_back(here: Suite) -> None:
    async with listening(here) as listener:
        async with dial(listener) as client:
            await told_next(client)
            assert here.link.sessions == 1
        await until(lambda: not here.link.sessions)


async def test_without_realtime_its_routes_are_not_there(here: Suite) -> None:
    async with listening(here, mode=["websocket"]) as listener:
        with pytest.raises(InvalidStatus):
            await dial(listener)
