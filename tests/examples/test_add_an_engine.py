"""The engine in docs/add-an-engine.md is found by its name and keeps the rules that an engine can break."""

import re
from pathlib import Path

import pytest

import services.llm.engines
from launcher.check.rule import Outcome
from tests.launcher.check.services import found_in, of, subject_of

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "add-an-engine.md"
# The other rules are the service's own.
RULES = (
    *("counts-its-deltas", "tells-both-the-same", "takes-a-full-request"),
    *("takes-nothing", "takes-unicode", "takes-very-long-input", "keeps-sessions-apart"),
    *("cancel-is-quick", "cancel-is-final", "keeps-the-deadline"),
)


async def test_the_engine_of_the_page_keeps_the_rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "parrot.py").write_text(code)
    monkeypatch.setattr(services.llm.engines, "__path__", [*services.llm.engines.__path__, str(tmp_path)])
    async with subject_of("llm", "--engine", "parrot", "--word_pause_s", "0.1") as subject:
        assert subject.announcement.engine == "parrot"
        found = await found_in(subject, *RULES)
    assert len(of(found, Outcome.PASS)) == len(RULES), found
