"""What all tests share."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"


@pytest.fixture
def speech() -> Path:
    """Return the folder of recordings with transcripts, or skip the test where it is missing."""
    folder = SHARED / "speech"
    if not (folder / "transcripts.tsv").exists():
        pytest.skip(f"no recordings beside the project ({folder.name}/transcripts.tsv)")
    return folder


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run every test on the loop that the processes run on."""
    return {"uvloop": uvloop.new_event_loop}
