"""What Prometheus gathers and the dashboard shows is what the processes export."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import promql_parser
import pytest

from tests.deploy.manifests import DEPLOY, ROLES, ROOT, documents, metrics, settings_of

FOLDER = DEPLOY / "observability"
PROMETHEUS = FOLDER / "prometheus.yaml"
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "grafana" / "suite.json").read_text(encoding="utf-8"))
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]
PROVISIONING = FOLDER / "grafana" / "provisioning"


def asked(query: str) -> Iterator[str]:
    """Return the series that *query* names, as Grafana would send it."""
    for role in DASHBOARD["templating"]["list"][0]["query"].split(","):
        sent = query.replace("$__rate_interval", "1m").replace("$role", role)
        promql_parser.parse(sent)
        yield from re.findall(r"\b(?:speech|process)_\w+", sent)


@pytest.mark.parametrize("query", QUERIES)
def test_the_dashboard_asks_for_series_that_exist(query: str) -> None:
    names = set(asked(query))
    assert names
    assert names <= metrics()


def test_prometheus_asks_every_role_at_its_health_port(monkeypatch: pytest.MonkeyPatch) -> None:
    engines = {"gateway": "", "vad": "silero", "asr": "pocketsphinx", "llm": "responder", "tts": "flite"}
    jobs = {
        job["job_name"]: (found["names"], found["port"])
        for job in documents(PROMETHEUS)[0]["scrape_configs"]
        for found in job["dns_sd_configs"]
    }
    ports = {role: settings_of(role, engines[role], {}, monkeypatch).health_port for role in ROLES}
    assert jobs == {role: ([f"{role}.bus"], ports[role]) for role in ROLES}
    for role, found in documents(ROOT / "compose.yaml")[0]["services"].items():
        assert found["networks"]["bus"]["aliases"] == [f"{role}.bus"]


def test_prometheus_takes_its_configuration() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool did not read the configuration: there is none here (apt-get install prometheus)")
    done = subprocess.run([promtool, "check", "config", str(PROMETHEUS)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_panel_has_a_place_of_its_own() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    for one, other in combinations([panel["gridPos"] for panel in PANELS], 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below
        assert one["x"] + one["w"] <= 24


def test_the_dashboard_s_data_source_is_the_one_that_is_made() -> None:
    (source,) = documents(PROVISIONING / "datasources" / "prometheus.yaml")[0]["datasources"]
    assert source["url"] == "http://prometheus:9090"
    used = {target["datasource"]["uid"] for panel in PANELS for target in panel["targets"]}
    assert used == {source["uid"]}


def test_every_mounted_file_is_there() -> None:
    services = documents(ROOT / "compose.observability.yaml")[0]["services"]
    mounts = [volume for found in services.values() for volume in found["volumes"] if volume.startswith("./")]
    assert mounts
    for mount in mounts:
        assert (ROOT / mount.split(":")[0]).exists(), mount
        assert mount.endswith(":ro")
    (provider,) = documents(PROVISIONING / "dashboards" / "suite.yaml")[0]["providers"]
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home.rpartition("/")[0] == provider["options"]["path"]
    assert any(mount.split(":")[1] == home for mount in mounts)
