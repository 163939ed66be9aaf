"""The stock Python client of the GA dialect (`client.realtime`) holds conversations of every kind."""

import asyncio
import base64
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from openai.resources.realtime.realtime import AsyncRealtimeConnection

from launcher.bench.suite import Suite
from tests.e2e.realtime.clients import (
    G711_RATE,
    LONG,
    alaw,
    async_client,
    audio_of,
    from_alaw,
    from_pcm16,
    from_ulaw,
    kinds,
    loudest_hz,
    one,
    pcm16,
    spoken,
    sync_client,
    ulaw,
    until,
    wave,
)
from tests.support.bus import PATIENCE_S

ITEM = ["conversation.item.added", "conversation.item.done"]
HEARD = [
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed",
    *ITEM,
]
OPENED = [
    "response.created",
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
]
CLOSED = [
    "response.content_part.done",
    "conversation.item.done",
    "response.output_item.done",
    "response.done",
]
DELTAS = {"response.output_audio.delta", "response.output_audio_transcript.delta"}
AUDIO_DONE = ["response.output_audio.done", "response.output_audio_transcript.done"]


@pytest.fixture
async def connection(suite: Suite) -> AsyncIterator[AsyncRealtimeConnection]:
    """Open a session; its first event is taken."""
    async with async_client(suite) as client, client.realtime.connect(model="any") as connection:
        assert (await connection.recv()).type == "session.created"
        yield connection


async def update(connection: AsyncRealtimeConnection, **session: Any) -> Any:
    """Update the session; return what it is then."""
    await connection.session.update(session={"type": "realtime", **session})  # type: ignore[arg-type]
    (updated,) = await until(connection, "session.updated")
    return updated.session


async def say(connection: AsyncRealtimeConnection, text: str) -> None:
    """Add a written message of the user."""
    await connection.conversation.item.create(
        item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
    )
    assert kinds(await until(connection, "conversation.item.done")) == ITEM


async def speaking(connection: AsyncRealtimeConnection) -> list[Any]:
    """Ask for a long answer; return what comes until its voice is heard."""
    await say(connection, LONG)
    await connection.response.create()
    return await until(connection, "response.output_audio.delta")


async def test_a_spoken_turn_is_transcribed_and_answered_aloud(connection: AsyncRealtimeConnection) -> None:
    await update(connection, audio={"input": {"transcription": {"model": "whisper-1"}}})
    await connection.input_audio_buffer.append(audio=spoken(440))
    told = await until(connection, "response.done")
    names = kinds(told)
    assert [name for name in names if name not in DELTAS] == [*HEARD, *OPENED, *AUDIO_DONE, *CLOSED]
    assert set(names) >= DELTAS
    assert one(told, "conversation.item.input_audio_transcription.completed").transcript == "tone 440"
    assert one(told, "response.output_audio_transcript.done").transcript == "I heard tone 440."
    assert loudest_hz(from_pcm16(audio_of(told))) == 440
    response = told[-1].response
    assert response.status == "completed"
    assert response.usage.input_token_details.audio_tokens > 0
    assert response.usage.output_token_details.audio_tokens > 0


async def test_small_appends_are_as_one(connection: AsyncRealtimeConnection) -> None:
    raw = base64.b64decode(spoken(440))
    for start in range(0, len(raw), 1920):
        await connection.input_audio_buffer.append(audio=base64.b64encode(raw[start : start + 1920]).decode())
    told = await until(connection, "response.done")
    assert one(told, "response.output_audio_transcript.done").transcript == "I heard tone 440."
    assert not [event for event in told if "input_audio_transcription" in event.type]  # not asked for


@pytest.mark.filterwarnings("ignore:connect.. must be used as a context manager:DeprecationWarning")  # openai does not
def test_a_written_turn_with_the_client_that_blocks(suite: Suite) -> None:
    with sync_client(suite) as client, client.realtime.connect(model="any") as connection:
        guard = threading.Timer(PATIENCE_S, connection.close)
        guard.start()
        connection.conversation.item.create(
            item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]}
        )
        connection.response.create(response={"output_modalities": ["text"]})
        told: list[Any] = []
        for event in connection:
            told.append(event)
            if event.type == "response.done":
                break
        guard.cancel()
    text = ["response.output_text.delta", "response.output_text.done"]
    assert kinds(told) == ["session.created", *ITEM, *OPENED, *text, *CLOSED]
    assert one(told, "response.output_text.done").text == "I heard hello."


async def test_handlers_by_type_are_called(connection: AsyncRealtimeConnection) -> None:
    words: list[str] = []
    connection.on("response.output_text.delta", lambda event: words.append(event.delta))
    closed = asyncio.Event()

    async def close(_event: object) -> None:
        closed.set()
        await connection.close()

    connection.on("response.done", close)
    await connection.conversation.item.create(
        item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]}
    )
    await connection.response.create(response={"output_modalities": ["text"]})
    async with asyncio.timeout(PATIENCE_S):
        await connection.dispatch_events()  # raises on an error event
    assert closed.is_set()
    assert "".join(words) == "I heard hello."


async def test_a_function_is_called_and_its_result_is_spoken_of(connection: AsyncRealtimeConnection) -> None:
    tool = {"type": "function", "name": "look_up", "parameters": {"type": "object", "properties": {}}}
    await update(connection, tools=[tool], output_modalities=["text"])
    await say(connection, "how is the weather")
    await connection.response.create()
    told = await until(connection, "response.done")
    done = one(told, "response.function_call_arguments.done")
    assert (done.name, done.arguments) == ("look_up", '{"city": "Paris"}')
    assert kinds(told)[-4:] == ["response.function_call_arguments.done", *CLOSED[1:]]
    (call,) = told[-1].response.output
    assert (call.type, call.status, call.call_id) == ("function_call", "completed", done.call_id)
    await connection.conversation.item.create(
        item={"type": "function_call_output", "call_id": done.call_id, "output": '{"sky": "blue"}'}
    )
    await connection.response.create()
    told = await until(connection, "response.done")
    assert one(told, "response.output_text.done").text == "I heard how is the weather."


async def test_speaking_over_the_answer_ends_it_and_what_was_unheard_is_forgotten(
    connection: AsyncRealtimeConnection,
) -> None:
    (*_, first) = await speaking(connection)
    await connection.input_audio_buffer.append(audio=spoken(880))
    told = await until(connection, "input_audio_buffer.speech_started")
    await connection.conversation.item.truncate(item_id=first.item_id, content_index=0, audio_end_ms=40)
    told += await until(connection, "response.done")
    cut = told[-1].response
    assert (cut.id, cut.status, cut.status_details.reason) == (first.response_id, "cancelled", "turn_detected")
    assert cut.output[0].status == "incomplete"
    if "conversation.item.truncated" not in kinds(told):
        told += await until(connection, "conversation.item.truncated")
    assert one(told, "conversation.item.truncated").audio_end_ms == 40
    answer = await until(connection, "response.done")
    assert one(answer, "response.output_audio_transcript.done").transcript == "I heard tone 880."
    assert all(event.response_id != cut.id for event in answer if event.type in DELTAS)
    await connection.conversation.item.retrieve(item_id=first.item_id)
    retrieved = (await until(connection, "conversation.item.retrieved"))[-1].item
    assert not retrieved.content[0].transcript
    assert len(from_pcm16(base64.b64decode(retrieved.content[0].audio or ""))) <= 24 * 40


async def test_a_turn_by_hand_is_committed_and_answered_when_asked(connection: AsyncRealtimeConnection) -> None:
    session = await update(connection, audio={"input": {"turn_detection": None}})
    assert session.audio.input.turn_detection is None
    await connection.input_audio_buffer.append(audio=spoken(550))
    await connection.input_audio_buffer.commit()
    await connection.response.create()
    told = await until(connection, "response.done")
    names = [name for name in kinds(told) if name not in DELTAS]
    assert names == [HEARD[2], *ITEM, *OPENED, *AUDIO_DONE, *CLOSED]
    assert one(told, "response.output_audio_transcript.done").transcript == "I heard tone 550."


async def test_a_response_out_of_band_runs_beside_the_answer(connection: AsyncRealtimeConnection) -> None:
    (*_, first) = await speaking(connection)
    await connection.response.create(
        response={
            "conversation": "none",
            "output_modalities": ["text"],
            "metadata": {"topic": "aside"},
            "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "aside"}]}],
        }
    )
    told = await until(connection, "response.done")
    aside = told[-1].response
    assert (aside.conversation_id, aside.metadata, aside.status) == (None, {"topic": "aside"}, "completed")
    assert one(told, "response.output_text.done").text == "I heard aside."
    assert "conversation.item.added" not in kinds(told)
    assert (await until(connection, "response.done"))[-1].response.id == first.response_id


async def test_a_cancelled_response_ends_at_once_and_the_next_may_begin(connection: AsyncRealtimeConnection) -> None:
    (*_, first) = await speaking(connection)
    await connection.response.cancel()
    told = await until(connection, "response.done")
    cut = told[-1].response
    assert (cut.id, cut.status, cut.status_details.reason) == (first.response_id, "cancelled", "client_cancelled")
    assert [name for name in kinds(told) if name not in DELTAS] == [*AUDIO_DONE, *CLOSED]
    await connection.response.create(response={"output_modalities": ["text"]})
    assert (await until(connection, "response.done"))[-1].response.status == "completed"


G711: dict[str, tuple[Callable[[NDArray[np.float64]], bytes], Callable[[bytes], NDArray[np.float64]]]] = {
    "audio/pcmu": (ulaw, from_ulaw),
    "audio/pcma": (alaw, from_alaw),
}


@pytest.mark.parametrize("kind", G711)
async def test_telephone_audio_goes_both_ways(connection: AsyncRealtimeConnection, kind: str) -> None:
    encode, decode = G711[kind]
    form = {"type": kind}
    session = await update(connection, audio={"input": {"format": form}, "output": {"format": form}})
    assert session.audio.output.format.type == kind
    await connection.input_audio_buffer.append(
        audio=base64.b64encode(encode(wave(440, 0.6, G711_RATE))).decode(),
    )
    told = await until(connection, "response.done")
    assert one(told, "response.output_audio_transcript.done").transcript == "I heard tone 440."
    assert loudest_hz(decode(audio_of(told)), G711_RATE) == 440


async def test_a_session_of_transcription_alone_never_answers(suite: Suite) -> None:
    async with (
        async_client(suite) as client,
        client.realtime.connect(extra_query={"intent": "transcription"}) as connection,
    ):
        created: Any = await connection.recv()
        assert created.session.type == "transcription"
        await connection.session.update(
            session={"type": "transcription", "audio": {"input": {"transcription": {"model": "whisper-1"}}}}
        )
        await connection.input_audio_buffer.append(audio=spoken(440))
        told = await until(connection, "conversation.item.input_audio_transcription.completed")
        assert told[-1].transcript == "tone 440"
        await connection.input_audio_buffer.append(audio=spoken(660))
        told += await until(connection, "conversation.item.input_audio_transcription.completed")
    assert kinds(told) == ["session.updated", *HEARD, *HEARD]


async def test_items_are_retrieved_and_deleted(connection: AsyncRealtimeConnection) -> None:
    await update(connection, audio={"input": {"turn_detection": None}})
    await connection.input_audio_buffer.append(audio=base64.b64encode(pcm16(wave(440, 0.6))).decode())
    await connection.input_audio_buffer.commit()
    item_id = (await until(connection, "conversation.item.done"))[-1].item.id
    await connection.conversation.item.retrieve(item_id=item_id)
    (retrieved,) = await until(connection, "conversation.item.retrieved")
    assert loudest_hz(from_pcm16(base64.b64decode(retrieved.item.content[0].audio))) == 440
    await connection.conversation.item.delete(item_id=item_id)
    assert (await until(connection, "conversation.item.deleted"))[-1].item_id == item_id
    await connection.conversation.item.retrieve(item_id=item_id)
    assert (await until(connection, "error"))[-1].error.code == "item_retrieve_invalid_item_id"


async def test_each_error_names_its_event_and_the_session_goes_on(connection: AsyncRealtimeConnection) -> None:
    await connection.response.cancel(event_id="a")
    await connection.input_audio_buffer.commit(event_id="b")
    await connection.session.update(session={"type": "realtime", "max_output_tokens": 0}, event_id="c")
    await connection.input_audio_buffer.append(audio="?", event_id="d")
    await connection.conversation.item.delete(item_id="nothing", event_id="e")
    errors = [(await until(connection, "error"))[-1].error for _ in range(5)]
    assert [(error.event_id, error.code, error.param) for error in errors] == [
        ("a", "response_cancel_not_active", None),
        ("b", "input_audio_buffer_commit_empty", None),
        ("c", "integer_below_min_value", "session.max_output_tokens"),
        ("d", "invalid_value", "audio"),
        ("e", "item_delete_invalid_item_id", None),
    ]
    await speaking(connection)
    await connection.response.create(event_id="f")
    error = (await until(connection, "error"))[-1].error
    assert (error.event_id, error.code) == ("f", "conversation_already_has_active_response")


async def test_models_are_listed(suite: Suite) -> None:
    async with async_client(suite) as client:
        assert "scripted" in [model.id async for model in client.models.list()]
