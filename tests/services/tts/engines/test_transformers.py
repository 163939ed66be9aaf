"""VITS with the real package and a model of random weights. The contract of all engines is in test_contract.py."""

import asyncio
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bus.errors import ConfigurationError, EngineError, InvalidRequestError
from bus.frames import Header
from bus.tasks import TaskHandler
from proto.v1 import speech_pb2 as pb
from services.tts.engines.transformers import Engine, Settings
from services.tts.service import Synthesis
from services.tts.settings import Speaking
from tests.services.tts.engines import small_models
from tests.support.bus import PATIENCE_S, serving

TEXT = "Hello there."


@pytest.mark.parametrize("package", ["torch", "transformers", "langcodes"])
def test_a_missing_package_is_one_line_with_the_remedy(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    for each in ("langcodes", "torch", "transformers"):
        monkeypatch.setitem(sys.modules, each, None if each == package else sys)
    remedy = rf"^{package} is not installed: pip install -r services/tts/requirements/transformers.txt$"
    with pytest.raises(ConfigurationError, match=remedy):
        Engine(Settings()).load()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("langcodes", reason="langcodes is not installed (make test-engines installs it)")
    return small_models.vits(tmp_path_factory.mktemp("vits") / "mms-tts-deu", language="deu", speakers=3)


@pytest.fixture(scope="module")
def engine(folder: Path) -> Engine:
    return loaded(folder)


def loaded(model: Path | str, **settings: Any) -> Engine:
    engine = Engine(Settings(model=str(model), device=settings.pop("device", "cpu"), cpu_threads=1, **settings))
    engine.load()
    return engine


def said(engine: Engine, text: str = TEXT, voice: str = "", language: str = "", speed: float = 1.0) -> bytes:
    return b"".join(engine.synthesize(text, voice, language, speed))


def silent(engine: Engine) -> None:
    """Take the noise out of the model, so that equal text gives equal audio."""
    engine._model.noise_scale = 0.0


def changed_copy(whole: Path, folder: Path, name: str, **changed: Any) -> Path:
    """Return *folder*, filled with the files of *whole* and *changed* fields in the JSON file *name*."""
    folder.mkdir(parents=True)
    for file in whole.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / name).write_text(json.dumps(json.loads((folder / name).read_text()) | changed))
    return folder


def test_speakers_are_voices_by_number(engine: Engine) -> None:
    silent(engine)
    assert engine.voices == ["0", "1", "2"]
    assert said(engine) == said(engine, voice="0")
    assert len({said(engine, voice=voice) for voice in engine.voices}) == 3
    with pytest.raises(InvalidRequestError, match=r"'3'; known: 0, 1, 2"):
        said(engine, voice="3")


def test_the_speaker_of_a_request_that_names_none_can_be_set(engine: Engine, folder: Path) -> None:
    second = loaded(folder, voice="1")
    silent(second)
    silent(engine)
    assert said(second) == said(engine, voice="1")
    with pytest.raises(ConfigurationError, match=r"no speaker '7': choose from \['0', '1', '2'\]"):
        loaded(folder, voice="7")


def test_the_language_comes_from_the_tokenizer_the_name_or_the_setting(folder: Path, tmp_path: Path) -> None:
    assert loaded(folder).languages == ["de"]
    nameless = changed_copy(folder, tmp_path / "voice", "tokenizer_config.json", language=None)
    assert loaded(nameless).languages == []
    assert loaded(nameless).language == "und"
    assert loaded(nameless, language="nl_BE").languages == ["nl-BE"]
    assert loaded(nameless.rename(tmp_path / "mms-tts-uig-script_arabic")).languages == ["ug"]


def test_a_model_of_one_speaker_is_called_like_its_folder(tmp_path: Path, folder: Path) -> None:
    assert folder
    one = loaded(small_models.vits(tmp_path / "mms-tts-eng"))
    assert one.voices == ["mms-tts-eng"]
    assert said(one, voice="mms-tts-eng", language="en-US")


def test_speeds_of_clauses_at_a_time_do_not_mix(engine: Engine) -> None:
    silent(engine)
    speeds = [0.5, 1.0, 2.0, 4.0] * 4
    alone = {speed: said(engine, speed=speed) for speed in set(speeds)}
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda speed: said(engine, speed=speed), speeds))
    assert together == [alone[speed] for speed in speeds]


def test_closing_ends_the_work_in_the_middle(engine: Engine) -> None:
    reached: list[str] = []

    def waits(*_: Any) -> None:
        reached.append("reading")
        engine._unwanted.wait(PATIENCE_S)

    hooks = [
        engine._model.text_encoder.register_forward_pre_hook(waits),
        engine._model.decoder.register_forward_pre_hook(lambda *_: reached.append("speaking")),
    ]
    pieces = engine.synthesize(TEXT, "", "", 1.0)
    assert next(pieces) == b""
    pieces.close()
    assert reached == ["reading"]
    for hook in hooks:
        hook.remove()
    assert said(engine)


def test_running_out_of_memory_fails_the_clause_alone(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    def greedy(*_: Any) -> None:
        raise torch.OutOfMemoryError("tried to allocate the world")

    hook = engine._model.decoder.register_forward_pre_hook(greedy)
    with pytest.raises(EngineError, match="out of memory"):
        said(engine)
    hook.remove()
    monkeypatch.setattr(engine._model, "noise_scale", float("nan"))
    with pytest.raises(EngineError, match="no numbers"):
        said(engine)
    monkeypatch.undo()
    assert said(engine)


async def test_the_service_stays_ready_when_a_clause_fails(folder: Path) -> None:
    engine = Engine(Settings(model=str(folder), device="cpu", cpu_threads=1))
    async with serving(TaskHandler(Synthesis(engine, Speaking(), "transformers")), engine="transformers") as (
        gateway,
        bus,
    ):

        def speak(number: int, **request: Any) -> None:
            header = Header(session_id="s1", response_id=f"r{number}", generation=number)
            gateway.send(bus, header, synthesis_request=pb.SynthesisRequest(text=TEXT, granted_ms=60_000, **request))

        announced = (await gateway.ready()).capabilities
        assert (list(announced.languages), list(announced.voices)) == (["de"], ["0", "1", "2"])
        wrong: list[dict[str, Any]] = [{"voice": "nobody"}, {"language": "fr"}, {"speed": 9.0}]
        for number, request in enumerate(wrong, 1):
            speak(number, **request)
            assert (await gateway.next("error", "synthesis_done")).error.code == pb.Error.INVALID_REQUEST

        def fails(*_: Any) -> None:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

        hook = engine._model.decoder.register_forward_pre_hook(fails)
        speak(7)
        assert (await gateway.next("error", "synthesis_done")).error.code == pb.Error.ENGINE_FAILED
        await asyncio.to_thread(hook.remove)
        speak(8)
        assert (await gateway.next("error", "synthesis_done")).WhichOneof("body") == "synthesis_done"


# -- what is read -----------------------------------------------------------------------------------------------------


def test_letters_of_other_scripts_are_romanised_once_loaded(tmp_path: Path, folder: Path) -> None:
    pytest.importorskip("uroman", reason="uroman is not installed (make test-engines installs it)")
    assert folder
    engine = loaded(small_models.vits(tmp_path / "mms-tts-rus", language="rus", is_uroman=True))
    silent(engine)
    assert said(engine, "Привет") == said(engine, "privet")


def test_without_the_romaniser_the_log_says_what_is_left_out(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert folder
    warned: list[str] = []
    monkeypatch.setitem(sys.modules, "uroman", None)
    monkeypatch.setattr(
        "services.tts.engines.transformers.log.warning", lambda event, **_: warned.append(event), raising=False
    )
    engine = loaded(small_models.vits(tmp_path / "mms-tts-rus", language="rus", is_uroman=True))
    assert len(warned) == 1
    assert "pip install uroman" in warned[0]
    assert said(engine, "Привет") == b""


def test_a_model_that_reads_phonemes_names_what_writes_them(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "phonemizer", None)
    reads = changed_copy(folder, tmp_path / "vits-ljs", "tokenizer_config.json", phonemize=True)
    with pytest.raises(ConfigurationError, match=r"pip install phonemizer, and apt-get install espeak-ng$"):
        loaded(reads)


# -- what cannot be loaded --------------------------------------------------------------------------------------------


def test_a_folder_that_is_not_there_is_one_line(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no model folder .*: give a folder or a name with --model$"):
        loaded(folder.parent / "nowhere")


@pytest.mark.parametrize("broken", ["config.json", "model.safetensors", "vocab.json"])
@pytest.mark.parametrize("content", [None, b"", b"garbage"])
def test_a_folder_that_is_not_whole_is_one_line(
    folder: Path, tmp_path: Path, broken: str, content: bytes | None
) -> None:
    copy = changed_copy(folder, tmp_path / "copy", "config.json")
    (copy / broken).unlink()
    if content is not None:
        (copy / broken).write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"^VITS model folder .*/copy cannot be loaded: ") as raised:
        loaded(copy)
    assert "\n" not in str(raised.value)


def test_weights_that_are_missing_are_not_made_up(folder: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    copy = changed_copy(folder, tmp_path / "copy", "config.json")
    weights = load_file(copy / "model.safetensors")
    weights.pop(next(name for name in weights if name.startswith("decoder")))
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(ConfigurationError, match="is not whole: it lacks 1 of its weights"):
        loaded(copy)


def test_a_model_of_another_kind_is_one_line(folder: Path, tmp_path: Path) -> None:
    other = changed_copy(folder, tmp_path / "other", "config.json", model_type="bert")
    with pytest.raises(ConfigurationError, match=r"other is of type bert; this engine speaks with vits"):
        loaded(other)


def test_a_hub_that_cannot_be_reached_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert folder
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigurationError, match=r"'nobody/nothing' cannot be loaded from the hub; give a local fold"):
        loaded("nobody/nothing")


@pytest.mark.parametrize("device", ["cuda", "tricorder"])
def test_a_device_that_is_not_there_is_one_line(folder: Path, device: str) -> None:
    import torch

    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(ConfigurationError, match="cannot be loaded: ") as raised:
        loaded(folder, device=device)
    assert "\n" not in str(raised.value)


def test_before_it_is_loaded_it_says_so() -> None:
    with pytest.raises(EngineError, match="not loaded"):
        Engine(Settings()).synthesize(TEXT, "", "", 1.0)


# -- why clauses are not made in batches ------------------------------------------------------------------------------


def test_padding_would_change_the_end_of_the_shorter_clause(engine: Engine) -> None:
    import torch

    silent(engine)
    short, long = (engine._tokens(text)["input_ids"] for text in ("yes", "a clause that is longer"))
    padded = torch.zeros_like(long).repeat(2, 1)
    padded[0, : short.shape[1]], padded[1] = short[0], long[0]
    mask = torch.zeros_like(padded)
    mask[0, : short.shape[1]], mask[1] = 1, 1
    with torch.inference_mode():
        alone = engine._model(short, speaker_id=0).waveform[0].numpy()
        together = engine._model(padded, attention_mask=mask, speaker_id=0).waveform[0].numpy()[: len(alone)]
    assert np.allclose(alone[: len(alone) // 2], together[: len(alone) // 2], atol=1e-4)
    assert not np.allclose(alone, together, atol=1e-2)
