"""The manifests are what the cluster takes, and say of the suite what its code says."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from bus.curve import read_keys
from bus.main import HUNG_THREADS_S
from bus.settings import ServiceSettings
from launcher.keys import new
from tests.deploy.manifests import (
    BASE,
    KUBERNETES,
    OVERLAYS,
    POD_IP,
    ROLES,
    SERVICES,
    Object,
    base,
    container,
    documents,
    engine_of,
    env_file,
    of_kind,
    pod,
    pod_labels,
    rendered,
    settings_of,
    unknown,
    variables,
)

# The oldest version whose schemas count here, and what kubernetes-validate takes for the newest.
VERSIONS = ["1.30", ""]
DEPLOYMENTS = of_kind("Deployment", base())
TALKING = ["speech/part", "app.kubernetes.io/name", "app.kubernetes.io/part-of"]


def validate(objects: list[Object], version: str, folder: Path) -> None:
    path = folder / "objects.yaml"
    path.write_text(yaml.safe_dump_all(objects), encoding="utf-8")
    choice = ["--kubernetes-version", version] if version else []
    command = [sys.executable, "-m", "kubernetes_validate", "--strict", "--no-warn", "--quiet", *choice, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_fits_the_schemas_of_the_cluster(version: str, tmp_path: Path) -> None:
    loose = [*KUBERNETES.glob("components/*/*.yaml")]
    objects = [found for path in loose if path.name != "kustomization.yaml" for found in documents(path)]
    validate([*base(), *objects], version, tmp_path)


@pytest.mark.parametrize("overlay", ["../base", *OVERLAYS])
def test_kustomize_makes_objects_that_fit_the_schemas(overlay: str, tmp_path: Path) -> None:
    validate(rendered((KUBERNETES / "overlays" / overlay).resolve()), "", tmp_path)


def test_every_manifest_belongs_to_its_kustomization() -> None:
    for path in KUBERNETES.rglob("kustomization.yaml"):
        kustomization = documents(path)[0]
        named = {*kustomization.get("resources", []), "kustomization.yaml"}
        assert {found.name for found in path.parent.glob("*.yaml")} <= named, path


def test_every_role_has_a_deployment_and_a_disruption_budget() -> None:
    budgets = of_kind("PodDisruptionBudget", base())
    assert set(DEPLOYMENTS) == set(budgets) == set(ROLES)


@pytest.mark.parametrize("role", ROLES)
def test_the_process_takes_every_variable(role: str, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = variables(DEPLOYMENTS[role], env_file(BASE / "engines.env"))
    settings = settings_of(role, engine_of(container(DEPLOYMENTS[role])["image"]), environment, monkeypatch)
    assert unknown(role, settings, environment) == []


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("role", ROLES)
def test_the_process_takes_every_variable_of_an_overlay(
    overlay: str, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = rendered(KUBERNETES / "overlays" / overlay)
    deployment = of_kind("Deployment", objects)[role]
    (source,) = container(deployment)["envFrom"]
    shared = of_kind("ConfigMap", objects)[source["configMapRef"]["name"]]["data"]
    environment = variables(deployment, shared)
    settings = settings_of(role, engine_of(container(deployment)["image"]), environment, monkeypatch)
    assert unknown(role, settings, environment) == []


def test_every_shared_variable_is_some_role_s() -> None:
    for path in KUBERNETES.rglob("engines.env"):
        for name in env_file(path):
            assert name.partition("_")[0].lower() in ROLES, name


@pytest.mark.parametrize("role", ROLES)
def test_ports_are_those_that_the_process_opens(role: str, monkeypatch: pytest.MonkeyPatch) -> None:
    deployment = DEPLOYMENTS[role]
    settings = settings_of(role, engine_of(container(deployment)["image"]), variables(deployment, {}), monkeypatch)
    ports = {port["name"]: port["containerPort"] for port in container(deployment)["ports"]}
    opened = {"bus": int(settings.bind.rpartition(":")[2]), "health": settings.health_port}
    for name, field in (("web", "ws_port"), ("recv", "recv_port"), ("send", "send_port")):
        if hasattr(settings, field):
            opened[name] = getattr(settings, field)
    assert ports == opened
    assert settings.bind == f"tcp://0.0.0.0:{ports['bus']}"
    assert settings.advertise == f"tcp://{POD_IP}:{ports['bus']}"
    assert settings.health_host == "0.0.0.0"
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(ports["health"])
    assert annotations["prometheus.io/path"] == "/metrics"


@pytest.mark.parametrize("role", ROLES)
def test_probes_ask_what_the_process_serves(role: str) -> None:
    found = container(DEPLOYMENTS[role])
    asked = {probe: found[f"{probe}Probe"]["httpGet"] for probe in ("startup", "liveness", "readiness")}
    assert {get["port"] for get in asked.values()} == {"health"}
    assert asked["liveness"]["path"] == "/health/live"
    assert asked["readiness"]["path"] == "/health/ready"
    # A gateway is ready by the services' grace; one that waits for them must not be restarted.
    assert asked["startup"]["path"] == ("/health/live" if role == "gateway" else "/health/ready")


@pytest.mark.parametrize("role", ROLES)
def test_the_cluster_waits_for_a_drain(role: str, monkeypatch: pytest.MonkeyPatch) -> None:
    deployment = DEPLOYMENTS[role]
    environment = variables(deployment, env_file(BASE / "engines.env"))
    settings = settings_of(role, engine_of(container(deployment)["image"]), environment, monkeypatch)
    waits_s = getattr(settings, "drain_timeout_s", 0.0) + HUNG_THREADS_S
    if role == "gateway":
        waits_s += float(container(deployment)["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod(deployment)["terminationGracePeriodSeconds"] >= waits_s + 5


def test_services_drain_by_default_for_less_than_the_cluster_waits() -> None:
    default_s = ServiceSettings.model_fields["drain_timeout_s"].default
    for role in SERVICES:
        assert pod(DEPLOYMENTS[role])["terminationGracePeriodSeconds"] > default_s


@pytest.mark.parametrize("role", ROLES)
def test_no_pod_can_do_more_than_it_must(role: str) -> None:
    spec = pod(DEPLOYMENTS[role])
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False, "the cluster's GATEWAY_... variables would be taken for settings"
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    held = container(DEPLOYMENTS[role])["securityContext"]
    assert held == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container(DEPLOYMENTS[role])["resources"]["limits"].keys() == {"memory"}


@pytest.mark.parametrize("role", ROLES)
def test_a_rollout_takes_no_replica_away_before_the_new_one_is_ready(role: str) -> None:
    spec = DEPLOYMENTS[role]["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert spec["replicas"] > 1


@pytest.mark.parametrize("role", ROLES)
def test_selectors_find_their_pods_and_no_others(role: str) -> None:
    def chosen(selector: dict[str, str]) -> set[str]:
        return {name for name, found in DEPLOYMENTS.items() if selector.items() <= pod_labels(found).items()}

    deployment = DEPLOYMENTS[role]
    assert set(pod_labels(deployment)) == set(TALKING)
    assert chosen(deployment["spec"]["selector"]["matchLabels"]) == {role}
    assert chosen(of_kind("PodDisruptionBudget", base())[role]["spec"]["selector"]["matchLabels"]) == {role}
    (spread,) = pod(deployment)["topologySpreadConstraints"]
    assert chosen(spread["labelSelector"]["matchLabels"]) == {role}
    for service in of_kind("Service", base()).values():
        assert chosen(service["spec"]["selector"]) == {"gateway"}


def test_services_find_every_gateway_before_it_is_ready() -> None:
    gateways = of_kind("Service", base())["gateways"]["spec"]
    assert gateways["clusterIP"] == "None", "a name for one address would reach one gateway"
    assert gateways["publishNotReadyAddresses"] is True, "a gateway becomes ready by being found"
    (port,) = gateways["ports"]
    for role in SERVICES:
        assert variables(DEPLOYMENTS[role], {})[f"{role.upper()}_GATEWAYS"] == f"tcp://gateways:{port['port']}"


def test_both_connections_of_a_raw_client_reach_one_gateway() -> None:
    assert of_kind("Service", base())["gateway-socket"]["spec"]["sessionAffinity"] == "ClientIP"


@pytest.mark.parametrize("service", of_kind("Service", base()).values(), ids=lambda found: found["metadata"]["name"])
def test_services_lead_to_ports_that_the_gateway_names(service: Object) -> None:
    ports = {port["name"]: port["containerPort"] for port in container(DEPLOYMENTS["gateway"])["ports"]}
    for port in service["spec"]["ports"]:
        assert port["port"] == ports[port["targetPort"]]


def test_the_keys_of_the_bus_lie_where_processes_read_them(tmp_path: Path) -> None:
    new(tmp_path / "KEYS", ["pods"])
    component = KUBERNETES / "components" / "bus-keys" / "kustomization.yaml"
    told = component.read_text(encoding="utf-8")
    secret = {Path(file).name: tmp_path / file for file in re.findall(r"--from-file=(\S+)", told)}
    volume, mount, variable = (
        change["value"] for change in yaml.safe_load(documents(component)[0]["patches"][0]["patch"])
    )
    for item in volume["secret"]["items"]:
        mounted = tmp_path / "mounted" / item["path"]
        mounted.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(secret[item["key"]], mounted)
    keys = read_keys(str(tmp_path / "mounted"))
    assert keys is not None
    assert keys.own.public in keys.allowed()
    assert variable == {"name": "BUS_KEYS", "value": mount["mountPath"]}


def test_an_overlay_s_images_are_engines_of_the_suite() -> None:
    for overlay in OVERLAYS:
        for image in documents(KUBERNETES / "overlays" / overlay / "kustomization.yaml")[0].get("images", []):
            role = image["name"].rpartition("/")[2]
            engine = image["newTag"].replace("-", "_")
            assert (KUBERNETES.parents[1] / "services" / role / "engines" / f"{engine}.py").is_file(), image
