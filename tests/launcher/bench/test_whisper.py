"""The benchmark of Whisper, with a model that is too small to measure anything."""

import sys
from pathlib import Path

import pytest

from launcher.bench import whisper


def test_what_is_missing_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["whisper", "--tokenizer", str(tmp_path)])
    monkeypatch.setattr(whisper, "find_spec", lambda _: None)
    assert whisper.main() == 2
    assert "pip install torch transformers faster-whisper" in capsys.readouterr().err
    monkeypatch.setattr(whisper, "find_spec", lambda _: object())
    assert whisper.main() == 2
    assert f"there is no {tmp_path}/tokenizer.json" in capsys.readouterr().err


def test_the_table_holds_the_variants(
    models: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for package in ("faster_whisper", "transformers"):
        pytest.importorskip(package, reason=f"{package} is not installed (make test-engines installs it)")
    tokenizer = models / "whisper-tokenizer"
    if not tokenizer.is_dir():
        pytest.skip(f"no tokenizer beside the project ({models.name}/{tokenizer.name})")
    told = ["--tokenizer", str(tokenizer), "--sizes", "nano", "--tokens", "4", "--rounds", "1"]
    monkeypatch.setattr(sys, "argv", ["whisper", *told])
    monkeypatch.setattr(whisper, "SECONDS", (1.5, 2.0))
    monkeypatch.setattr(whisper, "VARIANTS", (whisper.VARIANTS[0], whisper.VARIANTS[1], whisper.VARIANTS[-1]))
    assert whisper.main() == 0
    printed = capsys.readouterr().out
    assert all(variant.name in printed for variant in whisper.VARIANTS)
    assert "100%" in printed
