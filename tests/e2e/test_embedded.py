"""The engines that people meet first, with real speech: it is understood, and a voice answers."""

import asyncio
import re
import sys
import wave
from collections.abc import Iterator
from pathlib import Path

import jiwer
import pytest

from launcher.bench.recordings import EMBEDDED, Outcome, converse, recordings, words
from launcher.bench.suite import Suite, running_suite
from tests.support.bus import PATIENCE_S
from tests.support.sound import loudness

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture(scope="module")
def suite() -> Iterator[Suite]:
    with running_suite(engines=EMBEDDED) as running:
        yield running


def samples(path: Path) -> bytes:
    with wave.open(str(path)) as recording:
        return bytes(recording.readframes(recording.getnframes()))


@pytest.mark.parametrize("mode", ["websocket", "socket"])
async def test_a_spoken_question_gets_one_spoken_answer(suite: Suite, speech: Path, mode: str) -> None:
    outcome = Outcome("brooklyn.wav", "how old is the Brooklyn Bridge")
    await converse(suite, mode, samples(speech / outcome.file), outcome)
    assert outcome.answered
    assert outcome.answer_s > 2
    if mode == "websocket":
        assert words(" ".join(outcome.heard)) == "how old is the brooklyn bridge"


# Recordings that the embedded recogniser understands well enough to tell them apart.
CLEAR = [
    "brooklyn.wav",
    "goforward.wav",
    "cards001.wav",
    "cards003.wav",
    "half_an_hour.wav",
    "lk_weather.wav",
    "mountain_view.wav",
    "austen0930.wav",
]


async def test_eight_speakers_at_once_are_each_understood(suite: Suite, speech: Path) -> None:
    spoken = [one for one in recordings(speech) if one.file in CLEAR]
    assert len(spoken) == len(CLEAR)
    await asyncio.gather(*(converse(suite, "websocket", samples(speech / one.file), one) for one in spoken))
    for one in spoken:
        assert one.answered, one
        heard = words(" ".join(one.heard))
        assert min(spoken, key=lambda other: jiwer.wer(words(other.said), heard)) is one


async def test_the_example_of_the_readme_works_on_a_recording_without_trailing_silence(
    suite: Suite, speech: Path, tmp_path: Path
) -> None:
    example = next(
        block for block in re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL) if "8765" in block
    )
    (tmp_path / "input.pcm").write_bytes(samples(speech / "brooklyn.wav"))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", example.replace("8765", str(suite.ws_port)), cwd=tmp_path
    )
    assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 0
    assert loudness((tmp_path / "output.pcm").read_bytes()) > 100
