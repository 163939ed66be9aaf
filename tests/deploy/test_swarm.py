"""The stack files are what a swarm takes, and say of the suite what its code says."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bus.main import HUNG_THREADS_S
from tests.deploy.manifests import (
    DEPLOY,
    ROLES,
    ROOT,
    SERVICES,
    Object,
    base,
    container,
    documents,
    engine_of,
    filled_in,
    of_kind,
    settings_of,
    unknown,
)

STACK = DEPLOY / "swarm.yaml"
SOCKET = DEPLOY / "swarm.socket.yaml"
SERVICES_OF = {path: documents(path)[0]["services"] for path in (STACK, SOCKET)}
GATEWAYS = [(STACK, "gateway"), (SOCKET, "gateway-socket")]
ALL = [*((STACK, role) for role in ROLES), (SOCKET, "gateway-socket")]
COMPOSE_FILES = [*sorted(ROOT.glob("compose*.yaml")), STACK, SOCKET]
OVERLAYS = sorted(ROOT.glob("compose.*.yaml"))


def role_of(service: str) -> str:
    return service.partition("-")[0]


def environment(path: Path, service: str) -> dict[str, str]:
    found: Object = SERVICES_OF[path][service]
    return {name: filled_in(value) for name, value in found["environment"].items()}


def seconds(duration: str) -> float:
    assert duration.endswith("s")
    return float(duration[:-1])


@pytest.mark.parametrize("path", COMPOSE_FILES, ids=lambda path: path.name)
def test_every_compose_file_fits_the_schema_of_the_specification(path: Path) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.name)
def test_docker_takes_compose_with_each_overlay(overlay: Path) -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("compose files were not read by docker compose: there is none here")
    command = [docker, "compose", f"--file={ROOT / 'compose.yaml'}", f"--file={overlay}", "config", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("files", [[STACK], [STACK, SOCKET]], ids=["alone", "with raw TCP"])
def test_docker_takes_the_stack(files: list[Path]) -> None:
    docker = shutil.which("docker")
    if docker is None:
        pytest.skip("the stack was not read by docker: there is none here")
    command = [docker, "stack", "config", *(f"--compose-file={path}" for path in files)]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("VERSION", "REGISTRY"))}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=clean)
    if "unknown command" in done.stderr or "not a docker command" in done.stderr:
        pytest.skip("the stack was not read by docker: it has no `stack config`")
    assert done.returncode == 0, done.stderr
    assert "nsupported" not in done.stderr


@pytest.mark.parametrize(("path", "service"), ALL, ids=lambda value: getattr(value, "name", value))
def test_the_process_takes_every_variable(path: Path, service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = environment(path, service)
    role = role_of(service)
    settings = settings_of(role, engine_of(filled_in(SERVICES_OF[path][service]["image"])), given, monkeypatch)
    assert unknown(role, settings, given) == []
    assert all(name.startswith(f"{role.upper()}_") for name in given)
    assert settings.health_host == "0.0.0.0"
    assert settings.bind == type(settings).model_fields["bind"].default.replace("127.0.0.1", "0.0.0.0")


@pytest.mark.parametrize(("path", "service"), ALL, ids=lambda value: getattr(value, "name", value))
def test_the_health_check_asks_the_process_itself(path: Path, service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    role = role_of(service)
    settings = settings_of(role, engine_of(filled_in(SERVICES_OF[path][service]["image"])), {}, monkeypatch)
    # A task's name is known only when it is healthy, and a gateway is ready only when it has been found by its name.
    asked = "live" if role == "gateway" else "ready"
    url = f"http://127.0.0.1:{settings.health_port}/health/{asked}"
    assert SERVICES_OF[path][service]["healthcheck"]["test"] == ["CMD", "python", "-m", "bus.health", url]


@pytest.mark.parametrize(("path", "service"), ALL, ids=lambda value: getattr(value, "name", value))
def test_the_swarm_waits_for_a_drain(path: Path, service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = SERVICES_OF[path][service]
    settings = settings_of(role_of(service), engine_of(filled_in(found["image"])), {}, monkeypatch)
    waits_s = getattr(settings, "drain_timeout_s", 0.0) + HUNG_THREADS_S
    assert seconds(found["stop_grace_period"]) >= waits_s + 5


@pytest.mark.parametrize(("path", "service"), ALL, ids=lambda value: getattr(value, "name", value))
def test_no_task_can_do_more_than_it_must(path: Path, service: str) -> None:
    found = SERVICES_OF[path][service]
    assert found["read_only"] is True
    assert found["cap_drop"] == ["ALL"]
    writable = {volume["target"]: volume["type"] for volume in found["volumes"]}
    assert writable.pop("/models", None) == ("volume" if service in SERVICES else None)
    assert list(writable.values()) == ["tmpfs"]
    assert found["deploy"]["resources"]["limits"].keys() == {"memory"}


def test_no_port_of_the_bus_or_of_health_is_published() -> None:
    published = {
        name: [port["target"] for port in found["ports"]]
        for services in SERVICES_OF.values()
        for name, found in services.items()
        if "ports" in found
    }
    assert published == {"gateway": [8765], "gateway-socket": [12345, 12346]}


def test_services_announce_themselves_to_all_tasks_of_every_gateway() -> None:
    for role in SERVICES:
        variable = f"{role.upper()}_GATEWAYS"
        assert environment(STACK, role)[variable] == "tcp://tasks.gateway:7700"
        assert SERVICES_OF[SOCKET][role]["environment"][variable].split(",") == [
            f"tcp://tasks.{service}:7700" for _, service in GATEWAYS
        ]


def test_raw_clients_keep_their_address() -> None:
    found = SERVICES_OF[SOCKET]["gateway-socket"]
    assert {port["mode"] for port in found["ports"]} == {"host"}
    assert found["deploy"]["update_config"]["order"] == "stop-first", "a node's port can be had once"


def test_a_new_replica_is_ready_before_an_old_one_goes() -> None:
    for role in ROLES:
        deploy = SERVICES_OF[STACK][role]["deploy"]
        assert deploy["update_config"]["order"] == "start-first"
        assert deploy["update_config"]["failure_action"] == "rollback"
        assert int(filled_in(str(deploy["replicas"]))) > 1


def test_swarm_and_kubernetes_run_the_same_images() -> None:
    of_kubernetes = {name: container(found)["image"] for name, found in of_kind("Deployment", base()).items()}
    assert {role: filled_in(SERVICES_OF[STACK][role]["image"]) for role in ROLES} == of_kubernetes
    assert filled_in(SERVICES_OF[SOCKET]["gateway-socket"]["image"]) == of_kubernetes["gateway"]


def test_compose_builds_the_images_that_the_others_run() -> None:
    compose = ROOT / "compose.yaml"
    if not compose.is_file():
        pytest.skip("there is no compose.yaml")
    built = {filled_in(found["image"]) for found in documents(compose)[0]["services"].values() if "build" in found}
    for role in ROLES:
        assert filled_in(SERVICES_OF[STACK][role]["image"]) in built


def test_memory_is_limited_as_under_kubernetes() -> None:
    units = {"Mi": 2**20, "Gi": 2**30, "M": 2**20, "G": 2**30}

    def size(quantity: str) -> int:
        unit = quantity.lstrip("0123456789")
        return int(quantity.removesuffix(unit)) * units[unit]

    for name, found in of_kind("Deployment", base()).items():
        theirs = container(found)["resources"]
        ours = SERVICES_OF[STACK][name]["deploy"]["resources"]
        assert size(ours["limits"]["memory"]) == size(theirs["limits"]["memory"]), name
        assert size(ours["reservations"]["memory"]) == size(theirs["requests"]["memory"]), name


def test_the_secret_is_where_the_gateway_looks() -> None:
    stack = documents(STACK)[0]
    (secret,) = stack["services"]["gateway"]["secrets"]
    assert stack["secrets"] == {secret: {"external": True}}
    assert environment(STACK, "gateway")["GATEWAY_API_KEYS_FILE"] == f"/run/secrets/{secret}"
    assert stack["networks"]["bus"]["driver_opts"] == {"encrypted": "true"}
