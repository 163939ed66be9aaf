"""What all tests share."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"


@pytest.fixture
def speech() -> Path:
    """Return the folder of recordings with transcripts, or skip the test where it is missing."""
    folder = SHARED / "speech"
    if not (folder / "transcripts.tsv").exists():
        pytest.skip(f"no recordings beside the project ({folder.name}/transcripts.tsv)")
    return folder
