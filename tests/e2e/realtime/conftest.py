"""The suite that stock clients talk to."""

from collections.abc import Iterator

import pytest

from launcher.bench.suite import Suite, running_suite
from tests.e2e.realtime.clients import SCRIPT


@pytest.fixture(scope="package")
def suite() -> Iterator[Suite]:
    """Run one suite for all clients: plain connections, no keys."""
    with running_suite(flags=SCRIPT) as running:
        yield running
