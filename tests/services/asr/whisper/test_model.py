"""A model in faster-whisper's own layout, made with random weights: batches, cut windows, what is in the folder."""

import math
from pathlib import Path

import numpy as np
import pytest

from launcher.bench import random_whisper
from services.asr.whisper.guards import Guards
from services.asr.whisper.loading import Source, load
from services.asr.whisper.model import Model
from services.asr.whisper.window import SAMPLE_RATE, Window, frames_for

pytest.importorskip("faster_whisper", reason="faster-whisper is not installed (make test-engines installs it)")
pytest.importorskip("transformers", reason="transformers is not installed (make test-engines installs it)")

LENIENT = Guards(no_speech=1.0, log_prob=-math.inf, compression_ratio=math.inf)
FILES = {"config.json", "model.bin", "preprocessor_config.json", "tokenizer.json", "vocabulary.json"}


@pytest.fixture(scope="session")
def folder(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = models / "whisper-tokenizer"
    if not tokenizer.is_dir():
        pytest.skip(f"no tokenizer beside the project ({models.name}/{tokenizer.name})")
    made = tmp_path_factory.mktemp("whisper")
    return random_whisper.convert(random_whisper.build("nano", tokenizer, made / "weights", spread=0.3), made / "model")


@pytest.fixture
async def model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    monkeypatch.setattr("services.asr.whisper.model.POSITIONS", 24)  # random weights never end
    return await load(Source(str(folder), "cpu", "int8", 1), LENIENT, beam_size=5)


def windows(window_s: float) -> list[Window]:
    noise = np.random.default_rng(0)
    lengths = [int(SAMPLE_RATE * (1 + 0.5 * number)) for number in range(8)]
    return [
        Window(noise.normal(0, 0.1, length).astype(np.float32), frames_for(length, window_s), language="en")
        for length in lengths
    ]


@pytest.mark.parametrize("window_s", [30, 5])
def test_a_batch_gives_what_each_gives_alone(model: Model, window_s: float) -> None:
    asked = windows(window_s)
    assert len({window.kind for window in asked}) == 1
    together = model.decode(asked)
    alone = [model.decode([window])[0] for window in asked]
    assert [each.text for each in together] == [each.text for each in alone]
    assert [each.log_prob for each in together] == pytest.approx([each.log_prob for each in alone], abs=1e-4)
    assert len({each.text for each in alone}) > 1


def test_a_folder_in_faster_whispers_layout_is_read_as_it_is(folder: Path, model: Model) -> None:
    from faster_whisper import WhisperModel

    assert {file.name for file in folder.iterdir()} == FILES
    window = windows(30)[0]
    direct = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=1)
    segments, _ = direct.transcribe(
        window.samples,
        language="en",
        beam_size=5,
        temperature=0.0,
        without_timestamps=True,
        max_new_tokens=20,  # 24 less those that come before
        compression_ratio_threshold=None,
        log_prob_threshold=None,
        no_speech_threshold=None,
    )
    assert model.decode([window])[0].text == "".join(segment.text for segment in segments).strip()
    assert {"en", "de", "fr", "zh"} <= set(model.languages)
    assert model.detects
