"""Health over HTTP, and the command that asks for it."""

import asyncio
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from urllib.error import HTTPError

import pytest

from bus import health as health_module
from bus import metrics  # noqa: F401 - it is served
from bus.errors import ConfigurationError
from bus.health import Health, check
from bus.health_server import HealthServer


class Reason:
    """Why the process of a test is not ready."""

    def __init__(self) -> None:
        self.text = ""

    def __call__(self) -> str:
        return self.text


@pytest.fixture
def reason() -> Reason:
    return Reason()


@pytest.fixture
def health(reason: Reason) -> Health:
    return Health(reason)


@pytest.fixture
def server(health: Health) -> Iterator[HealthServer]:
    made = HealthServer(health, "127.0.0.1", 0)
    yield made
    made.close()


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310 - our own http address
            return response.status, response.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


def test_a_process_that_works_is_live_and_ready(server: HealthServer) -> None:
    assert get(f"{server.url}/health/live") == (200, "ok\n")
    assert get(f"{server.url}/health/ready") == (200, "ok\n")


def test_a_process_that_loads_is_live_and_not_ready(server: HealthServer, reason: Reason) -> None:
    reason.text = "loading"
    assert get(f"{server.url}/health/live") == (200, "ok\n")
    assert get(f"{server.url}/health/ready") == (503, "loading\n")


def test_a_loop_that_does_not_turn_is_noticed(
    server: HealthServer, health: Health, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_module, "STALLED_LOOP_S", -1.0)
    status, text = get(f"{server.url}/health/live")
    assert (status, text.startswith("event loop silent")) == (503, True)
    assert get(f"{server.url}/health/ready")[0] == 503
    monkeypatch.undo()
    health.beat()
    assert get(f"{server.url}/health/live")[0] == 200


def test_metrics_are_in_prometheus_form(server: HealthServer) -> None:
    status, text = get(f"{server.url}/metrics")
    assert status == 200
    assert 'speech_frames_received_total{body="audio"}' in text
    assert "# TYPE speech_leases gauge" in text


async def test_the_tasks_of_the_loop_are_counted_when_somebody_asks(health: Health) -> None:
    server = HealthServer(health, "127.0.0.1", 0)
    more = [asyncio.create_task(asyncio.sleep(60)) for _ in range(7)]
    _, text = await asyncio.to_thread(get, f"{server.url}/metrics")
    for task in more:
        task.cancel()
    server.close()
    counted = [float(line.split()[1]) for line in text.splitlines() if line.startswith("speech_tasks ")]
    assert counted == [1.0 + len(more)]


def test_other_paths_say_what_there_is(server: HealthServer) -> None:
    status, text = get(f"{server.url}/")
    assert status == 404
    assert "/health/ready" in text


def test_many_ask_at_once_while_one_says_nothing(server: HealthServer) -> None:
    import socket
    from concurrent.futures import ThreadPoolExecutor

    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))), ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(get, [f"{server.url}/health/live"] * 16))
    assert answers == [(200, "ok\n")] * 16


def test_a_taken_port_is_told_with_a_remedy(server: HealthServer, health: Health) -> None:
    port = int(server.url.rpartition(":")[2])
    with pytest.raises(ConfigurationError, match="--health_port"):
        HealthServer(health, "127.0.0.1", port)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1"])
def test_a_host_that_is_not_ours_is_told(health: Health, host: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot serve health"):
        HealthServer(health, host, 0)


def test_the_check_tells_what_is_wrong(server: HealthServer, reason: Reason) -> None:
    url = f"{server.url}/health/ready"
    assert check(url) == ""
    reason.text = "draining"
    assert check(url) == "draining"
    assert "no answer" in check("http://127.0.0.1:1/health/ready")
    assert "no answer" in check("nonsense")


def test_the_check_does_not_ask_a_proxy(server: HealthServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    assert check(f"{server.url}/health/live") == ""


def test_the_command_exits_as_the_check_says(server: HealthServer, reason: Reason) -> None:
    ask = [sys.executable, "-m", "bus.health", f"{server.url}/health/ready"]
    assert subprocess.run(ask, capture_output=True, check=False).returncode == 0
    reason.text = "loading"
    refused = subprocess.run(ask, capture_output=True, text=True, check=False)
    assert (refused.returncode, refused.stderr) == (1, "loading\n")


def test_who_says_nothing_takes_a_bounded_number_of_threads(health: Health, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bus.health_server.MOST_AT_ONCE", 2)
    server = HealthServer(health, "127.0.0.1", 0)
    port = int(server.url.rpartition(":")[2])
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(2)]
    with socket.create_connection(("127.0.0.1", port), timeout=10) as extra, suppress(ConnectionError):
        assert extra.recv(1) == b""
    for one in silent:
        one.close()
    deadline = time.monotonic() + 10
    while check(f"{server.url}/health/live") and time.monotonic() < deadline:
        time.sleep(0.01)
    assert check(f"{server.url}/health/live") == ""
    server.close()


def test_closing_is_quick(health: Health) -> None:
    server = HealthServer(health, "127.0.0.1", 0)
    started = time.monotonic()
    server.close()
    assert time.monotonic() - started < 10
    assert "no answer" in check(f"{server.url}/health/live")
