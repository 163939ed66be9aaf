"""The smart-turn engine with a small model of the same inputs and outputs: louder at the end is more complete."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bus.errors import ConfigurationError, EngineError
from services.vad.end_of_turn.engines import smart_turn
from services.vad.end_of_turn.engines.smart_turn import Engine
from services.vad.end_of_turn.features import FRAMES, MELS
from services.vad.engine import Floats
from services.vad.settings import EndOfTurnSettings


def write_model(path: Path, *, batch: int | str = "batch", mels: int = MELS, name: str = "input_features") -> Path:
    """Write a model that averages the features of the last half second, and return its path."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed (make test-engines installs it)")
    helper, tensor = onnx.helper, onnx.TensorProto
    weights = np.zeros((mels * FRAMES, 1), np.float32)
    weights.reshape(mels, FRAMES)[:, -50:] = 1 / (mels * 50)
    nodes = [
        helper.make_node("Flatten", [name], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "weights"], ["mean"]),
        helper.make_node("Sigmoid", ["mean"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, tensor.FLOAT, [batch, mels, FRAMES])],
        [helper.make_tensor_value_info("logits", tensor.FLOAT, [batch, 1])],
        [onnx.numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def engine_of(model: Path | str) -> Engine:
    return Engine(EndOfTurnSettings(end_of_turn="smart-turn", end_of_turn_model=str(model)))


def turns() -> list[Floats]:
    random = np.random.default_rng(6)
    return [(random.standard_normal(size) * level).astype(np.float32) for size, level in ((9, 0.5), (30_000, 0.1))] + [
        np.concatenate([random.standard_normal(20_000) * 0.3, np.zeros(16_000)]).astype(np.float32)
    ]


@pytest.mark.parametrize("batch", ["batch", 1], ids=["batches", "one at a time"])
def test_several_turns_get_what_each_gets_alone(tmp_path: Path, batch: int | str) -> None:
    engine = engine_of(write_model(tmp_path / "tiny.onnx", batch=batch))
    engine.load()
    assert (engine.name, engine.model) == ("smart-turn", "tiny")
    together = engine.judge(turns())
    assert all(0 < probability < 1 for probability in together)
    assert together[1] > together[2]  # that one has fallen silent
    np.testing.assert_allclose(together, [engine.judge([turn])[0] for turn in turns()], rtol=0, atol=1e-5)


@pytest.mark.parametrize("wrong", [{"mels": 128}, {"name": "input_values"}], ids=["mels", "name"])
def test_another_model_is_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    path = write_model(tmp_path / "other.onnx", **wrong)
    with pytest.raises(ConfigurationError, match=r"other\.onnx: it takes .* name a Smart Turn v3 file"):
        engine_of(path).load()


def test_what_is_no_model_is_refused_in_one_line(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (make test-engines installs it)")
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(ConfigurationError, match=r"broken\.onnx") as refused:
        engine_of(path).load()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("model", ["/nowhere/smart.onnx", "./smart.onnx", "smart.onnx", "a/b/c/d.onnx"])
def test_a_file_that_is_not_there_is_named(model: str) -> None:
    with pytest.raises(ConfigurationError, match="--end_of_turn_model"):
        smart_turn.found(model)


def test_a_missing_runtime_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigurationError, match=r"pip install -r services/vad/requirements/smart-turn\.txt"):
        engine_of("pipecat-ai/smart-turn-v3").load()


class Hub:
    """Stands in for huggingface_hub."""

    def __init__(self, outcome: Path | Exception) -> None:
        self.outcome = outcome
        self.asked: list[tuple[str, str]] = []

    def hf_hub_download(self, repo: str, name: str) -> str:
        self.asked.append((repo, name))
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return str(self.outcome)


@pytest.mark.parametrize(
    ("model", "asked"),
    [
        ("pipecat-ai/smart-turn-v3", ("pipecat-ai/smart-turn-v3", "smart-turn-v3.2-cpu.onnx")),
        ("pipecat-ai/smart-turn-v3/smart-turn-v3.0.onnx", ("pipecat-ai/smart-turn-v3", "smart-turn-v3.0.onnx")),
    ],
)
def test_a_name_means_a_file_on_the_hub(monkeypatch: pytest.MonkeyPatch, model: str, asked: tuple[str, str]) -> None:
    hub = Hub(Path("/cache/model.onnx"))
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    assert smart_turn.found(model) == Path("/cache/model.onnx")
    assert hub.asked == [asked]


def test_a_hub_that_cannot_be_reached_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", Hub(OSError("no route\nto host")))
    with pytest.raises(ConfigurationError, match=r"from the hub: no route; give --end_of_turn_model a local file$"):
        smart_turn.found("pipecat-ai/smart-turn-v3")


def test_a_hub_package_that_is_missing_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ConfigurationError, match=r"pip install -r services/vad/requirements/smart-turn\.txt"):
        smart_turn.found("pipecat-ai/smart-turn-v3")


def test_a_model_that_fails_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_of(write_model(tmp_path / "tiny.onnx"))
    engine.load()
    monkeypatch.setattr(smart_turn, "log_mel", lambda _: np.zeros((MELS, 7), np.float32))
    with pytest.raises(EngineError, match="smart-turn"):
        engine.judge(turns())
