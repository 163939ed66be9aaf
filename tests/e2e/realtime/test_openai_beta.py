"""The stock Python client of the beta dialect (`client.beta.realtime`) knows every event that it is sent."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from openai.resources.beta.realtime.realtime import AsyncRealtimeConnection

from launcher.bench.suite import Suite
from tests.e2e.realtime.clients import async_client, audio_of, from_pcm16, kinds, loudest_hz, one, spoken, until

OPENED = [
    "response.created",
    "response.output_item.added",
    "conversation.item.created",
    "response.content_part.added",
]
CLOSED = ["response.content_part.done", "response.output_item.done", "response.done"]
DELTAS = {"response.audio.delta", "response.audio_transcript.delta"}


@pytest.fixture
async def connection(suite: Suite) -> AsyncIterator[AsyncRealtimeConnection]:
    """Open a session; its greeting is taken."""
    async with async_client(suite) as client, client.beta.realtime.connect(model="any") as connection:
        assert kinds(await until(connection, "conversation.created")) == ["session.created", "conversation.created"]
        yield connection


async def test_a_spoken_turn_is_transcribed_and_answered_aloud(connection: AsyncRealtimeConnection) -> None:
    await connection.session.update(session={"input_audio_transcription": {"model": "whisper-1"}})
    (updated,) = await until(connection, "session.updated")
    assert updated.session.modalities == ["audio", "text"]
    assert updated.session.input_audio_transcription.model == "whisper-1"
    await connection.input_audio_buffer.append(audio=spoken(440))
    told = await until(connection, "response.done")
    assert [name for name in kinds(told) if name not in DELTAS] == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.created",
        *OPENED,
        "response.audio.done",
        "response.audio_transcript.done",
        *CLOSED,
    ]
    assert one(told, "conversation.item.input_audio_transcription.completed").transcript == "tone 440"
    assert one(told, "response.audio_transcript.done").transcript == "I heard tone 440."
    assert loudest_hz(from_pcm16(audio_of(told))) == 440
    assert told[-1].response.output[0].content[0].type == "audio"
    assert known(told)


async def test_a_written_turn_is_answered_in_writing(connection: AsyncRealtimeConnection) -> None:
    await connection.session.update(session={"modalities": ["text"]})
    await connection.conversation.item.create(
        item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]}
    )
    await connection.response.create()
    told = await until(connection, "response.done")
    text = ["response.text.delta", "response.text.done"]
    assert kinds(told) == ["session.updated", "conversation.item.created", *OPENED, *text, *CLOSED]
    assert one(told, "response.text.done").text == "I heard hello."
    assert known(told)


def known(told: list[Any]) -> bool:
    """Tell whether the client has a class for each event: those it does not know fall to the first one it has."""
    return all(type(event).__name__ != "ConversationCreatedEvent" for event in told)
