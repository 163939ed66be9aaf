"""A stock client of a suite whose vad has an end-of-turn model: semantic_vad ends a turn at a pause, or waits."""

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from launcher.bench.suite import Suite, running_suite
from tests.e2e.realtime.clients import PCM_RATE, SCRIPT, async_client, one, pcm16, until, wave

# The first pause ends its turn; about the second the model is lost.
ADVICE = ["--end_of_turn", "scripted", "--end_of_turn_script", "0.9,nan"]
UTTERANCE_MS = 640


@pytest.fixture(scope="module")
def suite() -> Iterator[Suite]:
    with running_suite(flags=SCRIPT | {"vad": ADVICE}) as running:
        yield running


def audio(silence_ms: int) -> str:
    """Return an utterance of `UTTERANCE_MS` and silence, as one append carries them."""
    spoken = pcm16(wave(440, UTTERANCE_MS / 1000)[: PCM_RATE * UTTERANCE_MS // 1000])
    return base64.b64encode(spoken + bytes(2 * PCM_RATE * silence_ms // 1000)).decode()


async def test_a_finished_sentence_ends_at_the_pause_and_without_advice_at_the_silence(suite: Suite) -> None:
    session: Any = {"type": "realtime", "audio": {"input": {"turn_detection": {"type": "semantic_vad"}}}}
    async with async_client(suite).realtime.connect(model="s2s") as connection:
        await connection.session.update(session=session)
        await until(connection, "session.updated")
        before_ms = 0
        for silence_ms, ends_ms in ((300, 192), (1200, 900)):
            await connection.input_audio_buffer.append(audio=audio(silence_ms))
            told = await until(connection, "response.done")
            stopped_ms = one(told, "input_audio_buffer.speech_stopped").audio_end_ms
            # Windows have 32 ms; the tone may end in one, and the silence, too.
            assert 0 <= stopped_ms - before_ms - UTTERANCE_MS - ends_ms <= 2 * 32
            before_ms += UTTERANCE_MS + silence_ms
