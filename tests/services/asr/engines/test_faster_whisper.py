"""Whisper with a small model that knows the recordings by heart: through the service, and through the engine alone."""

import asyncio
import csv
import json
import threading
from collections.abc import AsyncIterator, Sequence
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from bus.errors import ConfigurationError, EngineError, InvalidRequestError
from bus.tasks import TaskHandler
from proto.v1 import speech_pb2 as pb
from services.asr.engine import Recognised, Request
from services.asr.engines.faster_whisper import Engine, Settings
from services.asr.service import Recognition
from services.asr.whisper import loading
from services.asr.whisper.guards import Decoded
from services.asr.whisper.model import Model
from services.asr.whisper.window import Window, samples_of
from tests.services.asr.turns import Speaker, recording
from tests.support.bus import PATIENCE_S, serving
from tests.support.waiting import until

pytest.importorskip("faster_whisper", reason="faster-whisper is not installed (make test-engines installs it)")

# What the small model recognises exactly, of eight or more speakers and lengths.
KNOWN = (
    *("jfk", "brooklyn", "book_a_room", "mountain_view", "today", "two_people", "libri1995", "austen0880"),
    *("austen0890", "austen0920", "goforward", "cards001", "lj001_0004", "lj001_0006", "one_two_three"),
)


@pytest.fixture
def settings(models: Path) -> Settings:
    folder = models / "whisper-fixture"
    if not folder.is_dir():
        pytest.skip(f"no model beside the project ({models.name}/{folder.name})")
    return Settings(model=str(folder), language="en", compute_type="int8", device="cpu", cpu_threads=2)


@pytest.fixture
async def engine(settings: Settings) -> AsyncIterator[Engine]:
    engine = Engine(settings)
    await engine.load()
    yield engine
    await engine.stop()


@pytest.fixture
def said(speech: Path) -> dict[str, str]:
    with (speech / "transcripts.tsv").open() as file:
        lines = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return {line["file"].removesuffix(".wav"): line["transcript"] for line in lines}


@pytest.fixture
def pcm(speech: Path) -> dict[str, bytes]:
    return {name: recording(speech / f"{name}.wav") for name in KNOWN}


def decoded_windows() -> dict[str, float]:
    """Return how many batches there were (count) and how many windows in them (sum)."""
    return {
        f"{kind} {what}": REGISTRY.get_sample_value(f"speech_asr_batch_windows_{what}", {"kind": kind}) or 0.0
        for kind in ("final", "partial")
        for what in ("count", "sum")
    }


async def recognise(engine: Engine, pcm: bytes, request: Request | None = None) -> Recognised:
    stream = engine.stream(request or Request())
    await stream.accept(pcm)
    try:
        return await stream.finish()
    finally:
        stream.cancel()


def model_of(engine: Engine) -> Model:
    assert engine._model is not None
    return engine._model


def broken_copy(whole: Path, folder: Path, broken: str, how: str) -> Path:
    """Fill *folder* with the files of *whole*, *broken* not among them or garbage."""
    folder.mkdir()
    for file in whole.iterdir():
        if file.name != broken:
            (folder / file.name).symlink_to(file)
    if how == "garbage":
        (folder / broken).write_bytes(b"no model")
    return folder


async def test_eight_turns_at_once_get_their_own_sentence_from_one_model(
    settings: Settings, pcm: dict[str, bytes], said: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = count()
    loaded = loading._load

    def counted(*args: Any) -> Model:
        next(loads)
        return loaded(*args)

    monkeypatch.setattr(loading, "_load", counted)
    before = decoded_windows()
    # Eight are a full batch, which does not wait: a second is only how long the last may be on its way.
    engine = Engine(settings.model_copy(update={"gather_ms": 1000.0}))
    async with serving(TaskHandler(Recognition("faster-whisper", engine)), engine="faster-whisper") as (gateway, bus):
        names = KNOWN[:8]
        speakers = {name: Speaker(gateway, bus, session_id=name) for name in names}
        for begin in range(0, max(map(len, pcm.values())), 32_000):
            for name, speaker in speakers.items():
                if begin < len(pcm[name]):
                    speaker.say(pcm[name][begin : begin + 32_000])
        for speaker in speakers.values():
            speaker.say(last=True)
        answers = [await gateway.next("transcript", "error") for _ in names]
    assert {each.header.session_id: each.transcript.text for each in answers} == {name: said[name] for name in names}
    after = decoded_windows()
    assert next(loads) == 1
    assert after["final sum"] - before["final sum"] == 8
    assert after["final count"] - before["final count"] < 8


async def test_a_batch_gives_what_each_gives_alone(engine: Engine, pcm: dict[str, bytes], said: dict[str, str]) -> None:
    windows = [Window(samples_of(pcm[name]), frames=3000, language="en") for name in KNOWN]
    model = model_of(engine)
    together = await asyncio.to_thread(model.decode, windows)
    alone = [(await asyncio.to_thread(model.decode, [window]))[0] for window in windows]
    assert [each.text for each in together] == [said[name] for name in KNOWN]
    assert [(each.text, each.log_prob, each.no_speech) for each in together] == [
        (each.text, each.log_prob, each.no_speech) for each in alone
    ]


async def test_it_gives_what_faster_whisper_gives(engine: Engine, pcm: dict[str, bytes]) -> None:
    whisper = model_of(engine)._whisper
    for name in KNOWN[:4]:
        segments, _ = whisper.transcribe(
            samples_of(pcm[name]), language="en", temperature=0, beam_size=5, without_timestamps=True
        )
        direct = "".join(segment.text for segment in segments).strip()
        assert (await recognise(engine, pcm[name])).text == direct


async def test_it_says_what_it_is(settings: Settings) -> None:
    engine = Engine(settings)
    able = await engine.load()
    await engine.stop()
    assert (able.model, able.languages, able.streaming) == (settings.model, ("en",), False)


async def test_a_recognition_has_language_confidence_and_its_share_of_the_time(
    engine: Engine, pcm: dict[str, bytes]
) -> None:
    found = await recognise(engine, pcm["today"], Request(language="en-GB"))
    assert (found.text, found.language) == ("today", "en")
    assert 0.5 < found.confidence <= 1.0
    assert found.busy_s > 0.0


@pytest.mark.parametrize("pcm", [b"", bytes(2), bytes(640), bytes(32_000), b"\x08\x00" * 16_000], ids=len)
async def test_silence_has_an_empty_text(engine: Engine, pcm: bytes) -> None:
    found = await recognise(engine, pcm)
    assert (found.text, found.language, found.confidence) == ("", "", 0.0)


async def test_partials_come_and_their_stable_part_only_grows(
    settings: Settings, pcm: dict[str, bytes], said: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.asr.service.PARTIAL_S", 0.01)
    handler = TaskHandler(Recognition("faster-whisper", Engine(settings)))
    async with serving(handler, engine="faster-whisper") as (gateway, address):
        speaker = Speaker(gateway, address)
        for begin in range(0, 96_000, 32_000):
            speaker.say(pcm["austen0920"][begin : begin + 32_000], partials=True)
            await gateway.next("partial_transcript")
        speaker.say(pcm["austen0920"][96_000:], last=True)
        answer = await gateway.next("transcript")
    stable = [frame.partial_transcript.stable for body, frame in gateway.received if body == "partial_transcript"]
    assert answer.transcript.text == said["austen0920"]
    assert all(later.startswith(earlier) for earlier, later in pairwise(stable))


async def test_a_cancelled_turn_is_unanswered_and_the_next_one_is(
    settings: Settings, pcm: dict[str, bytes], said: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    began, let = threading.Event(), threading.Event()
    decode = Model.decode

    def when_let(self: Model, windows: Sequence[Window]) -> list[Decoded]:
        began.set()
        assert let.wait(PATIENCE_S)
        return decode(self, windows)

    monkeypatch.setattr(Model, "decode", when_let)
    engine = Engine(settings)
    async with serving(TaskHandler(Recognition("faster-whisper", engine)), engine="faster-whisper") as (gateway, bus):
        cancelled = Speaker(gateway, bus, session_id="s1")
        cancelled.say(pcm["jfk"], last=True)
        await until(began.is_set)
        cancelled.cancel()
        Speaker(gateway, bus, session_id="s2").say(pcm["today"], last=True)
        await until(lambda: engine._scheduler is not None and engine._scheduler._rounds.finals == 1)
        let.set()
        assert (await gateway.next("transcript")).transcript.text == said["today"]
    assert [frame.header.session_id for _, frame in gateway.received] == ["s2"]


async def test_the_guilty_turn_of_a_batch_fails_alone(
    settings: Settings, pcm: dict[str, bytes], said: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    generate = Model._generate
    guilty = len(pcm["jfk"]) // 2

    def short_of_memory(self: Model, windows: list[Window]) -> Any:
        if any(len(window.samples) == guilty for window in windows):
            raise RuntimeError("CUDA failed with error out of memory")
        return generate(self, windows)

    monkeypatch.setattr(Model, "_generate", short_of_memory)
    handler = TaskHandler(Recognition("faster-whisper", Engine(settings)))
    names = ("brooklyn", "jfk", "today", "goforward")
    async with serving(handler, engine="faster-whisper") as (gateway, address):
        for name in names:
            Speaker(gateway, address, session_id=name).say(pcm[name], last=True)
        answers = {
            frame.header.session_id: frame for frame in [await gateway.next("transcript", "error") for _ in names]
        }
    error = answers.pop("jfk").error
    assert (error.code, error.retryable) == (pb.Error.ENGINE_FAILED, True)
    assert {name: frame.transcript.text for name, frame in answers.items()} == {name: said[name] for name in answers}


async def test_a_cut_window_gives_the_encoder_less(settings: Settings, pcm: dict[str, bytes]) -> None:
    engine = Engine(settings.model_copy(update={"window_s": 5.0}))
    await engine.load()
    stream = engine.stream(Request())
    await stream.accept(pcm["jfk"])
    assert stream._window(partial=False).frames == 1500  # type: ignore[attr-defined]
    assert (await stream.finish()).text
    await engine.stop()


async def test_prompt_and_hot_words_precede_the_turn(engine: Engine, pcm: dict[str, bytes]) -> None:
    model = model_of(engine)
    context = model.context("the prompt", "hot words")
    assert model._tokenizer.decode(list(context)) == " hot words the prompt"
    assert len(model.context("word " * 1000, "")) == 223
    assert model._prompt(Window(samples_of(b""), 3000, context), "en")[1:-4] == list(context)
    turns = [recognise(engine, pcm["jfk"], Request(prompt=prompt)) for prompt in ("", "a", "rather longer, this")]
    assert len(await asyncio.gather(*turns)) == 3


async def test_a_language_that_is_not_the_fixed_one_is_refused(engine: Engine) -> None:
    with pytest.raises(InvalidRequestError):
        engine.stream(Request(language="de"))


async def test_a_language_nobody_named_is_detected_in_the_batch(
    settings: Settings, tmp_path: Path, pcm: dict[str, bytes], said: dict[str, str]
) -> None:
    folder = broken_copy(Path(settings.model), tmp_path / "model", "config.json", "missing")
    english = 50259  # the small model has not learnt to tell languages: this leaves it no choice
    config = json.loads((Path(settings.model) / "config.json").read_text()) | {"lang_ids": [english]}
    (folder / "config.json").write_text(json.dumps(config))
    engine = Engine(settings.model_copy(update={"model": str(folder), "language": "auto"}))
    assert {"en", "de", "fr"} <= set((await engine.load()).languages)
    asked = {"today": "", "goforward": "en-US", "brooklyn": ""}
    found = await asyncio.gather(*(recognise(engine, pcm[name], Request(language=asked[name])) for name in asked))
    await engine.stop()
    assert [(each.text, each.language) for each in found] == [(said[name], "en") for name in asked]


async def test_a_stopped_engine_fails_what_is_open(settings: Settings, pcm: dict[str, bytes]) -> None:
    engine = Engine(settings)
    await engine.load()
    stream = engine.stream(Request())
    await stream.accept(pcm["today"])
    await engine.stop()
    await engine.stop()
    with pytest.raises(EngineError):
        await stream.finish()
    with pytest.raises(EngineError):
        engine.stream(Request())


@pytest.mark.parametrize(
    ("broken", "how"),
    [
        ("model.bin", "garbage"),
        ("model.bin", "missing"),
        ("tokenizer.json", "garbage"),
        ("vocabulary.json", "garbage"),
        ("vocabulary.json", "missing"),
        ("config.json", "garbage"),
    ],
)
async def test_a_broken_folder_is_named(settings: Settings, tmp_path: Path, broken: str, how: str) -> None:
    folder = broken_copy(Path(settings.model), tmp_path / "model", broken, how)
    with pytest.raises(ConfigurationError, match=r"model folder .*/model cannot be loaded") as caught:
        await Engine(settings.model_copy(update={"model": str(folder)})).load()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("told", "remedy"),
    [
        ({"model": "/no/such/folder"}, "no model folder /no/such/folder"),
        ({"model": "no-such-size"}, "'no-such-size' cannot be loaded.*tiny"),
        ({"compute_type": "int3"}, "int3"),
        ({"language": "xx"}, "--language xx"),
        ({"language": "auto"}, "cannot detect languages"),
    ],
)
async def test_a_setting_that_cannot_work_is_told_in_one_line(
    settings: Settings, told: dict[str, str], remedy: str
) -> None:
    with pytest.raises(ConfigurationError, match=remedy) as caught:
        await Engine(settings.model_copy(update=told)).load()
    assert "\n" not in str(caught.value)


async def test_a_hub_out_of_reach_is_told(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise OSError("Got: ConnectError\nplease check your connection")

    monkeypatch.setattr("faster_whisper.transcribe.download_model", unreachable)
    told = settings.model_copy(update={"model": "somebody/whisper", "download_root": str(tmp_path)})
    with pytest.raises(ConfigurationError, match=r"'somebody/whisper' cannot be loaded from the hub.*ConnectError"):
        await Engine(told).load()


async def test_a_missing_package_is_told_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match=r"pip install -r services/asr/requirements/faster-whisper\.txt"):
        await Engine(Settings()).load()


async def test_a_slow_load_is_seen_in_the_log(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr("services.loading.TELL_S", 0.001)
    monkeypatch.setattr("services.loading.log.info", lambda event, **_: told.append(event), raising=False)
    engine = Engine(settings)
    await engine.load()
    await engine.stop()
    assert {"loading a model", "still loading", "loaded"} == set(told)
