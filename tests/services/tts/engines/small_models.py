"""Models of a few kilobytes, made by the tests, that the real packages load: they hum instead of speaking."""

import json
import threading
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from services.tts.onnx_model import Stoppable
from tests.support.bus import PATIENCE_S

# What a letter lasts: some twelve are a second, as in speech.
LETTER_S: Final = 0.08
LETTERS: Final = "abcdefghijklmnopqrstuvwxyz' "
KOKORO_VOICES: Final = ("af_heart", "am_adam", "bf_emma", "ef_dora", "jf_alpha")


def vits(folder: Path, *, language: str = "eng", speakers: int = 1, is_uroman: bool = False) -> Path:
    """Save a VITS with random weights and a tokenizer of letters to *folder*; 16 kHz, 40 ms for a token."""
    torch = pytest.importorskip("torch", reason="torch is not installed (make test-engines installs it)")
    transformers = pytest.importorskip(
        "transformers", reason="transformers is not installed (make test-engines installs it)"
    )
    folder.mkdir(parents=True)
    (folder / "letters.json").write_text(json.dumps({letter: at for at, letter in enumerate(["_", *LETTERS])}))
    tokenizer = transformers.VitsTokenizer(
        str(folder / "letters.json"),
        pad_token="_",  # noqa: S106 - a letter
        language=language,
        phonemize=False,
        is_uroman=is_uroman,
    )
    config = transformers.VitsConfig(
        vocab_size=len(LETTERS) + 1,
        hidden_size=16,
        num_hidden_layers=1,
        ffn_dim=16,
        flow_size=16,
        spectrogram_bins=9,
        upsample_initial_channel=16,
        upsample_rates=[8, 8],
        upsample_kernel_sizes=[16, 16],
        resblock_kernel_sizes=[3],
        resblock_dilation_sizes=[[1, 3]],
        prior_encoder_num_flows=1,
        prior_encoder_num_wavenet_layers=1,
        posterior_encoder_num_wavenet_layers=1,
        use_stochastic_duration_prediction=False,
        duration_predictor_filter_channels=16,
        num_speakers=speakers,
        speaker_embedding_size=8 if speakers > 1 else 0,
    )
    torch.manual_seed(1)
    model = transformers.VitsModel(config)
    with torch.no_grad():
        frames = LETTER_S / 2 * config.sampling_rate / 64  # of 64 samples; there is a blank beside each letter
        model.duration_predictor.proj.weight.zero_()
        model.duration_predictor.proj.bias.fill_(float(np.log(frames - 0.01)))
        model.decoder.conv_post.weight.mul_(50)  # random weights are quiet
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


Node = tuple[str, list[str], str, dict[str, Any]]
"""Operator, inputs, output, attributes."""
Inputs = dict[str, tuple[str, list[int | None]]]
"""Name -> type and shape."""


def piper(folder: Path, *, speakers: dict[str, int] | None = None, **changed: Any) -> Path:
    """Save a voice of Piper's shape to *folder*, as `en_US-hum-low.onnx` with its JSON file; 16 kHz."""
    inputs: Inputs = {"input": ("INT64", [1, None]), "input_lengths": ("INT64", [1]), "scales": ("FLOAT", [3])}
    graph: list[Node] = [
        ("Slice", ["scales", "one", "two"], "stretch", {}),
        ("Cast", ["input_lengths"], "letters", {"to": 1}),
        ("Mul", ["letters", "stretch"], "stretched", {}),
        *_hum("stretched", 16_000 * LETTER_S / 2, ("sid" if speakers else "")),
        ("Reshape", ["hum", "shape"], "output", {}),
    ]
    if speakers:
        inputs["sid"] = ("INT64", [1])
    constants = {"one": [1], "two": [2], "shape": [1, 1, 1, -1]}
    model = _save(folder / "en_US-hum-low.onnx", inputs, graph, constants)
    letters = "^$_ abcdefghijklmnopqrstuvwxyzðŋɐɑɔəɚɛɜɡɪɹɾʃʊʌʒˈˌːθ.,!?'-0123456789"  # noqa: RUF001 - those of phonetics
    described = {
        "audio": {"sample_rate": 16_000},
        "espeak": {"voice": "en-us"},
        "language": {"code": "en_US"},
        "num_symbols": len(letters),
        "num_speakers": len(speakers or {}) or 1,
        "speaker_id_map": speakers or {},
        "phoneme_id_map": {letter: [at] for at, letter in enumerate(letters)},
    }
    Path(f"{model}.json").write_text(json.dumps(described | changed))
    return model


def kokoro(folder: Path, voices: tuple[str, ...] = KOKORO_VOICES) -> tuple[Path, Path]:
    """Save a model and voices of Kokoro's shape to *folder*; return both paths."""
    inputs: Inputs = {"input_ids": ("INT64", [1, None]), "style": ("FLOAT", [1, 256]), "speed": ("FLOAT", [1])}
    graph: list[Node] = [
        ("Size", ["input_ids"], "count", {}),
        ("Cast", ["count"], "letters", {"to": 1}),
        ("Div", ["letters", "speed"], "stretched", {}),
        ("ReduceMean", ["style"], "voice", {"keepdims": 0}),
        *_hum("stretched", 24_000 * LETTER_S, "voice"),
        ("Identity", ["hum"], "audio", {}),
    ]
    model = _save(folder / "kokoro.onnx", inputs, graph, {})
    styles = {name: np.full((510, 1, 256), at, np.float32) for at, name in enumerate(voices)}
    with (folder / "voices.bin").open("wb") as file:
        np.savez(file, **styles)  # type: ignore[arg-type] # allow_pickle is taken for a name
    return model, folder / "voices.bin"


def runs_that_wait_for_their_end(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let every run of an ONNX model begin only when it was told to end; return how they end, filled by and by."""
    ends: list[str] = []
    told = threading.Event()
    run, stop = Stoppable.run, Stoppable.stop

    def waits(self: Stoppable, outputs: Any, inputs: Any) -> list[Any]:
        told.wait(PATIENCE_S)
        try:
            result = run(self, outputs, inputs)
        except Exception as error:
            ends.append("terminated" if "terminate" in str(error) else repr(error))
            raise
        ends.append("whole")
        return result

    def stops(self: Stoppable) -> None:
        stop(self)
        told.set()

    monkeypatch.setattr(Stoppable, "run", waits)
    monkeypatch.setattr(Stoppable, "stop", stops)
    return ends


def _hum(letters: str, samples: float, voice: str) -> list[Node]:
    """Return the nodes that make `hum`: *samples* of a sine for each of *letters*, lower for later voices."""
    pitch = [("Cast", [voice], "number", {"to": 1})] if voice else []
    return [
        ("Constant", [], "each", {"value_float": samples}),
        ("Mul", [letters, "each"], "many", {}),
        ("Constant", [], "zero", {"value_float": 0.0}),
        ("Constant", [], "step", {"value_float": 1.0}),
        ("ReduceSum", ["many"], "limit", {"keepdims": 0}),
        ("Range", ["zero", "limit", "step"], "at", {}),
        ("Constant", [], "highest", {"value_float": 0.1}),
        *pitch,
        *([("Constant", [], "lower", {"value_float": 0.01}), ("Mul", ["number", "lower"], "by", {})] if voice else []),
        ("Sub", ["highest", "by"], "pitch", {}) if voice else ("Identity", ["highest"], "pitch", {}),
        ("Mul", ["at", "pitch"], "angle", {}),
        ("Sin", ["angle"], "wave", {}),
        ("Constant", [], "loudness", {"value_float": 0.3}),
        ("Mul", ["wave", "loudness"], "hum", {}),
    ]


def _save(
    path: Path,
    inputs: Inputs,
    graph: list[Node],
    constants: dict[str, list[int]],
) -> Path:
    onnx: Any = pytest.importorskip("onnx", reason="onnx is not installed (make test-engines installs it)")
    make = onnx.helper
    assert all(first != second for first, second in pairwise(sorted(node[2] for node in graph))), "each name once"
    nodes = [make.make_node(kind, given, [made], **how) for kind, given, made, how in graph]
    taken = [make.make_tensor_value_info(n, getattr(onnx.TensorProto, t), s) for n, (t, s) in inputs.items()]
    made = [make.make_tensor_value_info(graph[-1][2], onnx.TensorProto.FLOAT, None)]
    fixed = [make.make_tensor(n, onnx.TensorProto.INT64, [len(v)], v) for n, v in constants.items()]
    model = make.make_model(
        make.make_graph(nodes, "hum", taken, made, fixed), opset_imports=[make.make_opsetid("", 17)], ir_version=9
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))
    return path
