"""Anything may be sent to a live server: it does what the event says, or says which event it did not understand.

Hypothesis writes sequences of sensible, mutilated and hostile events, in both dialects; a real gateway with scripted
services answers. Behind every event comes one that is certain to be refused by name: what lies between two refusals is
the answer to one event, because direct replies keep the client's order. `FUZZ_EXAMPLES=5000 pytest -k fuzz` goes on
for longer, with other sequences each time.
"""

import asyncio
import base64
import json
import os
from collections import Counter
from collections.abc import Iterator
from itertools import count
from typing import Any, Final

import pytest
import uvloop
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import ClientConnection, connect

from launcher.bench.suite import Suite, running_suite
from tests.support.bus import PATIENCE_S
from tests.support.sound import silence, tone

Event = dict[str, Any]

EXAMPLES: Final = int(os.environ.get("FUZZ_EXAMPLES", "0"))
CI_EXAMPLES: Final = 300
MAX_EVENT_ID: Final = 512
# Refused by this name; nothing else that is sent has such an event_id.
BARRIER: Final = "barrier_"


def pcm(seconds: float, hz: float = 0.0) -> str:
    """Return a tone, or silence, as a client sends it: its pitch does not matter."""
    audio = tone(hz, seconds * 1.5) if hz else silence(seconds * 1.5)
    return base64.b64encode(audio).decode()


# -- what is sent -----------------------------------------------------------------------------------------------------

# `$item` and `$resp` stand for ids that the server gave: which one, the number after them says.
ids = st.sampled_from(["a", "b", "item_c", "", "root", "nope", "x" * 33, "$item0", "$item1", "$item2", "$resp0"])
scalars: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, 0, 1, -1, 10**20, 1e300, 0.5, "", "auto", "inf", "none", "é\0\U0001f600", "x" * 2000, [], {}, [[]]]
)
text_part = st.fixed_dictionaries({"type": st.just("input_text"), "text": st.sampled_from(["", "hello", "tone 440"])})
audio_part = st.fixed_dictionaries(
    {"type": st.just("input_audio"), "audio": st.sampled_from([pcm(0.02), "", "AAA", "%%%%"])},
    optional={"transcript": st.sampled_from([None, "hi"])},
)
items = st.one_of(
    st.fixed_dictionaries(
        {
            "type": st.just("message"),
            "role": st.sampled_from(["user", "system", "assistant", "tool"]),
            "content": st.lists(text_part | audio_part, max_size=3),
        },
        optional={"id": ids, "status": scalars, "object": scalars},
    ),
    st.fixed_dictionaries(
        {"type": st.just("function_call"), "name": st.just("f"), "arguments": st.sampled_from(["{}", "", "{"])},
        optional={"call_id": ids, "id": ids},
    ),
    st.fixed_dictionaries({"type": st.just("function_call_output"), "call_id": ids, "output": st.just("x")}),
    st.fixed_dictionaries({"type": st.sampled_from(["mcp_call", "item_reference", "\0"]), "id": ids}),
)
detections = st.sampled_from(
    [
        None,
        {"type": "server_vad", "silence_duration_ms": 200},
        {"type": "server_vad", "create_response": False, "interrupt_response": False},
        {"type": "semantic_vad", "eagerness": "high"},
        {"type": "server_vad", "threshold": 7},
        {"type": "none"},
    ]
)
formats = st.sampled_from(
    [{"type": "audio/pcm", "rate": 24000}, {"type": "audio/pcmu"}, {"type": "audio/pcm", "rate": 1}]
)
sessions = st.one_of(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["realtime", "realtime", "realtime", "transcription"])},
        optional={
            "instructions": st.sampled_from(["", "be brief"]),
            "output_modalities": st.sampled_from([["text"], ["audio"], ["text", "audio"], []]),
            "audio": st.fixed_dictionaries(
                {},
                optional={
                    "input": st.fixed_dictionaries(
                        {}, optional={"turn_detection": detections, "format": formats, "transcription": scalars}
                    ),
                    "output": st.fixed_dictionaries({}, optional={"voice": scalars, "format": formats}),
                },
            ),
            "max_output_tokens": st.sampled_from([1, 4096, 5000, "inf", None]),
            "tool_choice": scalars,
            "truncation": scalars,
            "tools": scalars,
        },
    ),
    st.fixed_dictionaries(
        {},
        optional={
            "modalities": st.sampled_from([["text"], ["audio", "text"], ["audio"]]),
            "turn_detection": detections,
            "input_audio_format": st.sampled_from(["pcm16", "g711_ulaw", "mp3"]),
            "input_audio_transcription": st.sampled_from([None, {"model": "whisper-1"}, {"language": 3}]),
            "temperature": scalars,
        },
    ),
    scalars,
)
responses = st.one_of(
    st.fixed_dictionaries(
        {},
        optional={
            "output_modalities": st.sampled_from([["text"], ["audio"]]),
            "modalities": st.sampled_from([["text"], ["audio", "text"]]),
            "conversation": st.sampled_from(["auto", "none", "other", None]),
            "metadata": st.sampled_from([{"k": "v"}, {"k": 1}, {str(i): "" for i in range(17)}, None]),
            "input": st.lists(items | st.fixed_dictionaries({"type": st.just("item_reference"), "id": ids}), max_size=2)
            | st.none(),
            "max_output_tokens": st.sampled_from([1, 0, "inf"]),
        },
    ),
    scalars,
)
audio = st.sampled_from([pcm(0.04), pcm(0.3, 440), pcm(0.8, 440), pcm(0.9), pcm(1.7), "", "AA==", "AAAA=", "ÿÿ", None])


def event(kind: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Event]:
    """Return events of a kind. One field in ten or so is missing or what it should not be: see `mutilated`."""
    return st.fixed_dictionaries({"type": st.just(kind), **fields})


sensible = st.one_of(
    event("session.update", session=sessions),
    event("transcription_session.update", session=sessions),
    event("input_audio_buffer.append", audio=audio),
    event("input_audio_buffer.append", audio=audio),
    event("input_audio_buffer.commit"),
    event("input_audio_buffer.clear"),
    event("conversation.item.create", item=items),
    event("conversation.item.create", item=items, previous_item_id=ids),
    event("conversation.item.retrieve", item_id=ids),
    event(
        "conversation.item.truncate", item_id=ids, content_index=st.integers(-1, 1), audio_end_ms=st.integers(-1, 90)
    ),
    event("conversation.item.delete", item_id=ids),
    event("response.create"),
    event("response.create", response=responses),
    event("response.cancel"),
    event("response.cancel", response_id=ids),
    event("output_audio_buffer.clear"),
)


@st.composite
def mutilated(draw: st.DrawFn) -> Event:
    """Return an event of which one field is missing, wrong, or too many."""
    made = dict(draw(sensible))
    key = draw(st.sampled_from([*made, "event_id", "extra", ""]))
    if draw(st.booleans()):
        made[key] = draw(scalars)
    else:
        made.pop(key, None)
    return made


hostile: st.SearchStrategy[Any] = st.sampled_from(
    [
        "",
        "{",
        "null",
        "[]",
        '"session.update"',
        "1e999",
        "NaN",
        '{"type":"response.create","response":NaN}',
        '{"type":"response.create","type":5}',
        '{"type":"\\ud800"}',
        '{"type":"conversation.item.delete","item_id":"\\udfff\\u0000"}',
        '{"event_id":"\\ud800","type":"response.cancel"}',
        "[" * 100_000,
        '{"type":"session.update","session":' + '{"a":' * 2_000 + "1" + "}" * 2_000 + "}",
        '{"type":"' + "x" * 100_000 + '"}',
        '{"type":"input_audio_buffer.append","audio":"' + "A" * 1_000_001 + '"}',
        '{"type":"conversation.item.create","item":{"type":"message","role":"user","content":['
        + ",".join(['{"type":"input_text","text":"x"}'] * 2_000)
        + ',{"type":"input_text"}]}}',
        b"",
        b"\xff" * 1000,
        b'{"type":"response.create"}',
    ]
) | st.text(max_size=40)

pauses = st.sampled_from([0.0, 0.005, 0.05])
steps = st.lists(sensible | sensible | mutilated() | hostile | pauses, min_size=1, max_size=25)

# -- what comes back --------------------------------------------------------------------------------------------------

ANSWERS: Final = {
    "session.update": {"session.updated"},
    "transcription_session.update": {"transcription_session.updated"},
    "input_audio_buffer.commit": {"input_audio_buffer.committed"},
    "input_audio_buffer.clear": {"input_audio_buffer.cleared"},
    "conversation.item.create": {"conversation.item.added", "conversation.item.created"},
    "conversation.item.retrieve": {"conversation.item.retrieved"},
    "conversation.item.truncate": {"conversation.item.truncated"},
    "conversation.item.delete": {"conversation.item.deleted"},
    "response.create": {"response.created"},
    "response.cancel": {"response.done"},
}
# What comes in consequence of nothing but one event: not there if that was refused.
DIRECT: Final = {"session.updated", "input_audio_buffer.cleared", "conversation.item.retrieved"}
OPENING: Final = {"response.output_item.added", "response.content_part.added", "response.created"}


class Order:
    """Checks the order of what a server sends: G1 to G6 of the protocol's ordering guarantees."""

    def __init__(self, *, beta: bool) -> None:
        self._beta = beta
        self._ids: set[str] = set()
        self._in_conversation: dict[str, bool] = {}
        self._outputs: dict[str, list[str]] = {}
        self._trail: dict[str, list[str]] = {}  # of every output item, what came of it
        self._texts: Counter[str] = Counter()
        self._said: dict[str, str] = {}
        self._ended: set[str] = set()
        self.open: set[str] = set()

    def see(self, got: Event) -> None:
        """Check the next event."""
        kind = got["type"]
        assert kind.endswith("session.created") == (not self._ids), "session.created comes first, and once"
        assert len(got["event_id"]) <= 32
        assert got["event_id"] not in self._ids
        self._ids.add(got["event_id"])
        if kind == "response.created":
            response = got["response"]
            assert response["id"] not in self.open | self._ended
            self.open.add(response["id"])
            self._outputs[response["id"]] = []
            self._in_conversation[response["id"]] = response["conversation_id"] is not None
            assert sum(self._in_conversation[one] for one in self.open) <= 1
        elif kind == "response.done":
            self._done(got["response"])
        elif kind.startswith("response."):
            assert got["response_id"] in self.open, f"{kind} outside of its response"
            self._within(kind.removeprefix("response."), got)
        elif kind in ("conversation.item.added", "conversation.item.created", "conversation.item.done"):
            trail = self._trail.get(got["item"]["id"])
            if trail is not None and got["item"].get("role") != "user":
                trail.append("item added" if kind != "conversation.item.done" else "item done")

    def _within(self, kind: str, got: Event) -> None:
        if kind.startswith("output_item."):
            item_id = got["item"]["id"]
            if kind.endswith("added"):
                outputs = self._outputs[got["response_id"]]
                assert got["output_index"] == len(outputs)
                assert all(self._trail[one][-1] == "output_item.done" for one in outputs), "one item after another"
                outputs.append(item_id)
                self._trail[item_id] = []
        else:
            item_id = got["item_id"]
        trail = self._trail[item_id]
        assert "output_item.done" not in trail
        if kind.endswith(".delta"):
            assert "content_part.added" in trail or "function_call" in kind
            assert kind.replace(".delta", ".done") not in trail
            if "audio." not in kind:
                self._said[item_id] = self._said.get(item_id, "") + got["delta"]
            return
        trail.append(kind)
        for key in ("text", "transcript", "arguments"):
            if kind.endswith((f"{key}.done", f"{key}s.done")) and key in got:
                assert got[key] == self._said.get(item_id, "")

    def _done(self, response: Event) -> None:
        response_id = response["id"]
        assert response_id in self.open, "an end without a beginning, or a second end"
        self.open.remove(response_id)
        self._ended.add(response_id)
        assert response["status"] in ("completed", "cancelled", "incomplete", "failed")
        assert [item["id"] for item in response["output"]] == self._outputs[response_id]
        for item_id in self._outputs[response_id]:
            trail = self._trail[item_id]
            dones = [kind for kind in trail if kind.endswith(".done")]
            expected = ["output_item.added"]
            if self._in_conversation[response_id]:
                expected.append("item added")
            message = "content_part.added" in trail
            if message:
                expected.append("content_part.added")
            expected += [kind for kind in dones if kind not in ("content_part.done", "output_item.done")]
            if message:
                expected.append("content_part.done")
            if self._in_conversation[response_id] and not self._beta:
                expected.append("item done")
            assert trail == [*expected, "output_item.done"]
            if any("audio.done" in kind for kind in dones):
                assert [kind.replace("output_", "") for kind in dones[:2]] == ["audio.done", "audio_transcript.done"]


class Fuzzed:
    """One connection that is sent anything."""

    def __init__(self, connection: ClientConnection, *, beta: bool) -> None:
        self._connection = connection
        self._beta = beta
        self.order = Order(beta=beta)
        self._numbers = count()
        self._item_ids: list[str] = []
        self._response_ids: list[str] = []
        self._type = "realtime"
        self._waiting: list[tuple[Event | None, object, str]] = []

    async def send(self, step: Event | str | bytes) -> None:
        """Send a step and the barrier behind it."""
        number = next(self._numbers)
        sent: Event | None = None
        name: object = None
        if isinstance(step, dict):
            sent = self._resolved(step)
            name = sent.setdefault("event_id", f"e{number}")
            step = json.dumps(sent)
        await self._connection.send(step)
        barrier = f"{BARRIER}{number}"
        self._waiting.append((sent, name, barrier))
        refused = {"type": "conversation.item.retrieve", "item_id": "no such item", "event_id": barrier}
        await self._connection.send(json.dumps(refused))

    def _resolved(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._resolved(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self._resolved(inner) for inner in value]
        if isinstance(value, str) and value[:5] in ("$item", "$resp"):
            known = self._item_ids if value[1] == "i" else self._response_ids
            return known[-1 - int(value[5:])] if len(known) > int(value[5:]) else "unknown"
        return value

    async def check_answers(self) -> list[Event]:
        """Read up to the last barrier, and check what is before each."""
        read: list[Event] = []
        for sent, name, barrier in self._waiting:
            between: list[Event] = []
            while (got := await self.next())["type"] != "error" or got["error"]["event_id"] != barrier:
                between.append(got)
            self._check(sent, name, between)
            read += between
        self._waiting.clear()
        return read

    def _check(self, sent: Event | None, name: object, between: list[Event]) -> None:
        errors = [got["error"] for got in between if got["type"] == "error"]
        assert len(errors) <= 1
        kind = sent.get("type") if sent is not None else None
        kinds = {got["type"] for got in between}
        for error in errors:
            assert set(error) == {"type", "code", "message", "param", "event_id"}
            assert error["type"] == "invalid_request_error", error
            assert error["message"]
            if sent is not None:
                assert error["event_id"] == (name if isinstance(name, str) and len(name) <= MAX_EVENT_ID else None)
            assert not kinds & DIRECT
        if sent is None or errors or kind == "input_audio_buffer.append":
            return
        assert isinstance(kind, str), "an event without a type is refused"
        assert kinds & ANSWERS[kind], f"no answer to {kind}"

    async def next(self) -> Event:
        """Return the next event."""
        async with asyncio.timeout(PATIENCE_S):
            got: Event = json.loads(await self._connection.recv())
        self.order.see(got)
        match got["type"]:
            case "response.created":
                self._response_ids.append(got["response"]["id"])
            case "conversation.item.added" | "conversation.item.created":
                self._item_ids.append(got["item"]["id"])
            case "session.updated" | "transcription_session.updated":
                self._type = got["session"].get("type", self._type) if not self._beta else got["type"].split("_")[0]
        return got

    async def hold_a_plain_turn(self) -> None:
        """Stop whatever goes on, and have a text answered; then again, at once."""
        session: Event = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
        update = {"type": "session.update", "session": {"turn_detection": None} if self._beta else session}
        await self.send(update)
        await self.send({"type": "input_audio_buffer.clear"})
        await self.send({"type": "input_audio_buffer.clear"})
        read = await self.check_answers()
        if self._type == "transcription" or any("session" in str(got.get("error", {}).get("message")) for got in read):
            return  # which answers nothing
        for _ in range(20):
            await self.send({"type": "response.cancel"})
            codes = [got["error"]["code"] for got in await self.check_answers() if got["type"] == "error"]
            if codes:
                assert codes == ["response_cancel_not_active"]
                break
        while self.order.open:  # those out of band
            await self.next()
        for _ in range(2):
            await self._hold_one()

    async def _hold_one(self) -> None:
        content = [{"type": "input_text", "text": "plain words"}]
        await self.send({"type": "conversation.item.create", "item": _message("user", content)})
        modalities = "modalities" if self._beta else "output_modalities"
        response: Event = {modalities: ["text"], "max_output_tokens": "inf", "tools": [], "tool_choice": "auto"}
        await self.send({"type": "response.create", "response": response})
        read = await self.check_answers()
        assert not [got for got in read if got["type"] == "error"]
        while read[-1]["type"] != "response.done" and self.order.open:
            read.append(await self.next())
        done = [got["response"] for got in read if got["type"] == "response.done"]
        assert [response["status"] for response in done] == ["completed"], done
        assert "plain words" in done[0]["output"][0]["content"][0]["text"]


def _message(role: str, content: list[Event]) -> Event:
    return {"type": "message", "role": role, "content": content}


# -- the tests --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def suite() -> Iterator[Suite]:
    """Run a suite; at its end nobody is left in it, and nothing was raised."""
    flags = {
        "gateway": ["--max_events_per_s", "20000"],
        "llm": ["--token_latency", "0.004"],
        "tts": ["--ms_per_character", "20"],
    }
    with running_suite(flags=flags) as running:
        yield running
        running.wait_for(
            lambda health: health["sessions"] == 0 and not any(one["leases"] for one in health["services"])
        )
        log = running.log.read_text()
        lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
        assert "Traceback" not in log
        assert not [line for line in lines if line["level"] in ("error", "critical")]


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield runner


async def converse(suite: Suite, sent: list[Any], *, beta: bool, at_once: bool) -> None:
    """Send *sent*, all *at_once* or each when the one before is answered, and hold a plain turn."""
    headers = {"OpenAI-Beta": "realtime=v1"} if beta else {}
    url = f"ws://127.0.0.1:{suite.ws_port}/v1/realtime"
    async with connect(url, additional_headers=headers, max_size=None, compression=None) as connection:
        client = Fuzzed(connection, beta=beta)
        for step in sent:
            if isinstance(step, float):
                await asyncio.sleep(step)
                continue
            await client.send(step)
            if not at_once:
                await client.check_answers()
        await client.check_answers()
        await client.hold_a_plain_turn()


@settings(
    max_examples=EXAMPLES or CI_EXAMPLES,
    derandomize=not EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    print_blob=False,
)
@given(sent=steps, beta=st.booleans(), at_once=st.booleans())
@example(sent=[], beta=False, at_once=False)
@example(sent=[], beta=True, at_once=False)
@example(sent=[{"audio": pcm(0.04)}], beta=False, at_once=False)  # an append in all but its type
def test_a_live_server_does_what_an_event_says_or_names_it_and_goes_on(
    suite: Suite, runner: asyncio.Runner, sent: list[Any], *, beta: bool, at_once: bool
) -> None:
    runner.run(converse(suite, sent, beta=beta, at_once=at_once))
