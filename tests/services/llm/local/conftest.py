"""A small model that tells stories, loaded once."""

from pathlib import Path

import pytest

from services.llm.local.loading import Loaded, read
from services.pretrained import Source


@pytest.fixture(scope="session")
def stories(models: Path) -> Loaded:
    pytest.importorskip("transformers", reason="transformers is not installed (make test-engines installs it)")
    folder = models / "stories260K-hf"
    if not folder.is_dir():
        pytest.skip(f"no model beside the project ({models.name}/{folder.name})")
    return read(Source(str(folder), "cpu", "auto", 1), "cpu")
