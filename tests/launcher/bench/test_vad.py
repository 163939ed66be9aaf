"""What the vad's rows are held against: its network called directly, and ONNX Runtime where that is installed."""

import sys

import pytest

from launcher.bench import floor, rows, vad
from launcher.bench.row import Line, Note, Scale


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vad, "WINDOWS", 64)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no engine but silero."""
    for package in ("onnxruntime", "torch"):
        monkeypatch.setitem(sys.modules, package, None)


def test_every_row_that_is_here_is_measured() -> None:
    made, _ = vad.rows_of(1, "cpu")
    assert {vad.NETWORK, vad.ENGINE} <= set(made)
    assert all(rate > 0 for rate in vad.measure(made, (1, 3), 1).values())


def test_a_window_of_the_network_takes_some_time() -> None:
    assert 0 < floor.window_ms(2) < 1000


@pytest.mark.usefixtures("alone")
def test_without_onnx_runtime_the_limit_is_the_same_and_nothing_is_said_of_it() -> None:
    found = list(rows.windows(Scale(quick=True)))
    lines = [line for line in found if isinstance(line, Line)]
    assert len(lines) == len(vad.BATCHES)
    assert all(line.limit and not line.remark and line.ratio.endswith(rows.NETWORK) for line in lines)
    (note,) = (line for line in found if isinstance(line, Note))
    assert [why.rpartition("; ")[2] for why in note.lines] == [
        "pip install --no-deps -r services/vad/requirements/silero-onnx.txt",
        "pip install -r services/vad/requirements/silero-torch.txt",
    ]


def test_with_onnx_runtime_the_remark_tells_of_it() -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (make test-engines installs it)")
    lines = [line for line in rows.windows(Scale(quick=True)) if isinstance(line, Line)]
    assert all(line.remark.endswith(f" x {vad.ONNX}") for line in lines)
