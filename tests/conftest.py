"""What all tests share."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop
from hypothesis import HealthCheck, settings

# How long Hypothesis looks: quick and always the same by default, long with HYPOTHESIS_PROFILE=deep. No example fails
# because a busy machine is slow.
PATIENT = [HealthCheck.too_slow]
settings.register_profile(
    "quick", max_examples=60, deadline=None, derandomize=True, database=None, suppress_health_check=PATIENT
)
settings.register_profile("deep", max_examples=5000, deadline=None, suppress_health_check=PATIENT, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"


@pytest.fixture
def speech() -> Path:
    """Return the folder of recordings with transcripts, or skip the test where it is missing."""
    folder = SHARED / "speech"
    if not (folder / "transcripts.tsv").exists():
        pytest.skip(f"no recordings beside the project ({folder.name}/transcripts.tsv)")
    return folder


@pytest.fixture(scope="session")
def models() -> Path:
    """Return the folder of small model folders, or skip the test where it is missing."""
    folder = SHARED / "models"
    if not folder.is_dir():
        pytest.skip(f"no models beside the project ({folder.name})")
    return folder


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run every test on the loop that the processes run on."""
    return {"uvloop": uvloop.new_event_loop}
