"""Speech models of transformers: small ones with random weights, of both kinds. What they write means nothing."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bus.errors import ConfigurationError, EngineError, InvalidRequestError
from bus.tasks import TaskHandler
from launcher.bench import random_whisper
from proto.v1 import speech_pb2 as pb
from services.asr.engine import Recognised, Request
from services.asr.engines.transformers import Engine, Settings
from services.asr.service import Recognition
from services.asr.speech_models.model import SpeechModel, Spelling, Writing
from services.asr.whisper.guards import Decoded
from services.asr.whisper.window import Window, samples_of
from tests.services.asr.turns import Speaker
from tests.support.bus import serving

pytest.importorskip("transformers", reason="transformers is not installed (make test-engines installs it)")

LETTERS = ("<pad>", "<s>", "</s>", "<unk>", "|", *"ETAOINSHRDLU")


@pytest.fixture(scope="session")
def wav2vec2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a model that spells."""
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("wav2vec2")
    config = Wav2Vec2Config(
        vocab_size=len(LETTERS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        conv_dim=[32] * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
        pad_token_id=0,
    )
    model = Wav2Vec2ForCTC(config)
    with torch.no_grad():
        model.lm_head.weight *= 50  # or it would be of two minds about everything
    model.save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps({letter: at for at, letter in enumerate(LETTERS)}))
    Wav2Vec2CTCTokenizer(str(folder / "vocab.json")).save_pretrained(folder)
    Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def whisper(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a model that writes."""
    tokenizer = models / "whisper-tokenizer"
    if not tokenizer.is_dir():
        pytest.skip(f"no tokenizer beside the project ({models.name}/{tokenizer.name})")
    return random_whisper.build("nano", tokenizer, tmp_path_factory.mktemp("whisper"), spread=0.3)


@pytest.fixture(autouse=True)
def few_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.asr.speech_models.model.TOKENS_AT_MOST", 8)  # random weights never end


@pytest.fixture(params=["wav2vec2", "whisper"])
def settings(request: pytest.FixtureRequest) -> Settings:
    folder: Path = request.getfixturevalue(request.param)
    # Random words are loops now and then.
    return Settings(model=str(folder), device="cpu", cpu_threads=1, compression_ratio_threshold=1000)


@pytest.fixture
async def engine(settings: Settings) -> AsyncIterator[Engine]:
    engine = Engine(settings)
    await engine.load()
    yield engine
    await engine.stop()


def model_of(engine: Engine) -> SpeechModel:
    assert engine._scheduler is not None
    model = engine._scheduler._decode.__self__  # type: ignore[attr-defined]
    assert isinstance(model, SpeechModel)
    return model


def noise(seconds: float, seed: int) -> bytes:
    samples = np.random.default_rng(seed).normal(0, 3000, int(16_000 * seconds))
    return bytes(samples.astype("<i2").tobytes())


def changed(whole: Path, folder: Path, name: str, text: str | None) -> Path:
    """Fill *folder* with the files of *whole*, but that called *name*: with other text, or without it."""
    folder.mkdir()
    for file in whole.iterdir():
        if file.name != name:
            (folder / file.name).symlink_to(file)
    if text is not None:
        (folder / name).write_text(text)
    return folder


async def recognise(engine: Engine, pcm: bytes, request: Request | None = None) -> Recognised:
    stream = engine.stream(request or Request())
    await stream.accept(pcm)
    try:
        return await stream.finish()
    finally:
        stream.cancel()


async def test_eight_turns_at_once_get_what_each_gets_alone(settings: Settings) -> None:
    turns = {f"s{seed}": noise(0.5 + 0.2 * seed, seed) for seed in range(8)}
    engine = Engine(settings.model_copy(update={"gather_ms": 1000.0}))
    async with serving(TaskHandler(Recognition("transformers", engine)), engine="transformers") as (gateway, bus):
        for name, pcm in turns.items():
            Speaker(gateway, bus, session_id=name).say(pcm, last=True, language="en", step=32_000)
        answers = [await gateway.next("transcript", "error") for _ in turns]
        assert engine._scheduler is not None
        engine._scheduler._gather_s = 0.0
        alone = {name: (await recognise(engine, pcm, Request(language="en"))).text for name, pcm in turns.items()}
    assert {each.header.session_id: each.transcript.text for each in answers} == alone
    assert len(set(alone.values())) > 1


async def test_a_batch_gives_what_each_gives_alone(engine: Engine) -> None:
    model = model_of(engine)
    windows = [Window(samples_of(noise(2, seed)), 3000, language="en") for seed in range(4)]
    together = await asyncio.to_thread(model.decode, windows)
    alone = [(await asyncio.to_thread(model.decode, [window]))[0] for window in windows]
    assert [each.text for each in together] == [each.text for each in alone]
    assert all(each.text for each in together)
    assert [each.log_prob for each in together] == pytest.approx([each.log_prob for each in alone], abs=1e-4)


@pytest.mark.parametrize("pcm", [b"", bytes(640), bytes(32_000)], ids=len)
async def test_silence_has_an_empty_text(engine: Engine, pcm: bytes) -> None:
    found = await recognise(engine, pcm)
    assert (found.text, found.language, found.confidence) == ("", "", 0.0)


async def test_partials_come_while_the_person_speaks(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.asr.service.PARTIAL_S", 0.01)
    handler = TaskHandler(Recognition("transformers", Engine(settings)))
    async with serving(handler, engine="transformers") as (gateway, bus):
        speaker = Speaker(gateway, bus)
        speaker.say(noise(1.5, 1), partials=True, language="en")
        await gateway.next("partial_transcript")
        speaker.say(noise(0.5, 2), last=True)
        assert (await gateway.next("transcript")).transcript.text


async def test_the_guilty_turn_of_a_batch_fails_alone(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (Writing, Spelling):
        generate = kind._generate

        def short_of_memory(self: Any, windows: list[Window], generate: Any = generate) -> list[Decoded]:
            if any(len(window.samples) == 16_000 for window in windows) and windows[0].language:
                raise RuntimeError("CUDA out of memory")
            found: list[Decoded] = generate(self, windows)
            return found

        monkeypatch.setattr(kind, "_generate", short_of_memory)
    handler = TaskHandler(Recognition("transformers", Engine(settings)))
    async with serving(handler, engine="transformers") as (gateway, bus):
        for seed, seconds in enumerate((0.8, 1.0, 1.2, 1.4)):
            Speaker(gateway, bus, session_id=f"{seed}").say(noise(seconds, seed), last=True, language="en")
        answers = {
            frame.header.session_id: frame for frame in [await gateway.next("transcript", "error") for _ in range(4)]
        }
    error = answers.pop("1").error
    assert (error.code, error.retryable) == (pb.Error.ENGINE_FAILED, True)
    assert all(frame.transcript.text for frame in answers.values())


async def test_a_stopped_engine_fails_what_is_open(engine: Engine) -> None:
    stream = engine.stream(Request(language="en"))
    await stream.accept(noise(1, 0))
    await engine.stop()
    await engine.stop()
    with pytest.raises(EngineError):
        await stream.finish()
    with pytest.raises(EngineError, match="not loaded"):
        engine.stream(Request())


async def test_a_model_that_spells_says_how_sure_it_is_and_does_not_shout(wav2vec2: Path) -> None:
    engine = Engine(Settings(model=str(wav2vec2), device="cpu", cpu_threads=1, language="en", window_s=0.5))
    able = await engine.load()
    found = await recognise(engine, noise(0.7, 0))
    with pytest.raises(InvalidRequestError):
        engine.stream(Request(language="de"))
    assert engine.stream(Request())._asked.window_s == 0.5  # type: ignore[attr-defined]
    await engine.stop()
    assert (able.languages, found.language) == (("en",), "en")
    assert found.text == found.text.lower()
    assert 0 < found.confidence < 1


async def test_whisper_detects_a_language_that_nobody_named(whisper: Path) -> None:
    engine = Engine(Settings(model=str(whisper), device="cpu", cpu_threads=1, compression_ratio_threshold=1000))
    able = await engine.load()
    named, detected = await asyncio.gather(
        recognise(engine, noise(1, 0), Request(language="de-AT")), recognise(engine, noise(1, 1))
    )
    with pytest.raises(InvalidRequestError):
        engine.stream(Request(language="xx"))
    assert engine.stream(Request())._asked.window_s == 30  # type: ignore[attr-defined]
    await engine.stop()
    assert {"en", "de", "fr"} <= set(able.languages)
    assert named.language == "de"
    assert detected.language in able.languages
    assert detected.confidence == 0.0  # not known


async def test_whisper_with_a_language_that_it_does_not_know_is_refused(whisper: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not know --language xx"):
        await Engine(Settings(model=str(whisper), device="cpu", language="xx")).load()


@pytest.mark.parametrize(
    ("broken", "text", "remedy"),
    [
        ("config.json", None, "model folder .*/model cannot be loaded"),
        ("config.json", "no JSON", "model folder .*/model cannot be loaded"),
        ("config.json", '{"model_type": "llama"}', "/model is a llama model, which recognises no speech"),
        ("model.safetensors", None, "model folder .*/model cannot be loaded"),
        ("model.safetensors", "no weights", "model folder .*/model cannot be loaded"),
        ("preprocessor_config.json", None, "model folder .*/model cannot be loaded"),
        (
            "preprocessor_config.json",
            '{"feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": 8000}',
            "8000 Hz",
        ),
        ("vocab.json", None, "model folder .*/model cannot be loaded"),
    ],
)
async def test_a_broken_folder_is_named(
    wav2vec2: Path, tmp_path: Path, broken: str, text: str | None, remedy: str
) -> None:
    folder = changed(wav2vec2, tmp_path / "model", broken, text)
    with pytest.raises(ConfigurationError, match=remedy) as caught:
        await Engine(Settings(model=str(folder), device="cpu")).load()
    assert "\n" not in str(caught.value)


async def test_a_folder_that_is_not_there_and_a_hub_out_of_reach_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError, match="no model folder /no/such/folder"):
        await Engine(Settings(model="/no/such/folder")).load()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigurationError, match=r"'somebody/model' cannot be loaded from the hub; give a local"):
        await Engine(Settings(model="somebody/model", download_root=str(tmp_path))).load()


async def test_a_missing_package_is_told_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.pretrained.find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match=r"pip install -r services/asr/requirements/transformers\.txt"):
        await Engine(Settings()).load()
