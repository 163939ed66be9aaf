"""What the files in deploy/ hold, for the tests beside: objects, containers, settings, metrics."""

import importlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from prometheus_client import REGISTRY

from bus.main import configure
from bus.settings import ProcessSettings, ServiceSettings, parse
from gateway.settings import GatewaySettings

ROOT: Final = Path(__file__).parents[2]
DEPLOY: Final = ROOT / "deploy"
KUBERNETES: Final = DEPLOY / "kubernetes"
BASE: Final = KUBERNETES / "base"
OVERLAYS: Final = sorted(folder.name for folder in (KUBERNETES / "overlays").iterdir())

SERVICES: Final = ("vad", "asr", "llm", "tts")
ROLES: Final = ("gateway", *SERVICES)
# What stands for an address that only the cluster knows.
POD_IP: Final = "10.1.2.3"

Object = dict[str, Any]


def documents(path: Path) -> list[Object]:
    """Return the objects of a YAML file."""
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


@cache
def base() -> list[Object]:
    """Return the objects that stand in deploy/kubernetes/base as they are."""
    kustomization = documents(BASE / "kustomization.yaml")[0]
    return [found for name in kustomization["resources"] for found in documents(BASE / name)]


@cache
def rendered(folder: Path) -> list[Object]:
    """Return what kustomize makes of *folder*; skip the test where there is no kubectl to run it."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kustomize was not run: there is no kubectl here")
    done = subprocess.run([kubectl, "kustomize", str(folder)], capture_output=True, text=True, check=False)
    if 'unknown field "components"' in done.stderr:
        pytest.skip("kustomize was not run: the kubectl here is too old for components")
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def of_kind(kind: str, objects: list[Object]) -> dict[str, Object]:
    """Return the objects of *kind* by name."""
    return {found["metadata"]["name"]: found for found in objects if found["kind"] == kind}


def pod(deployment: Object) -> Object:
    """Return the pod template's spec."""
    spec: Object = deployment["spec"]["template"]["spec"]
    return spec


def container(deployment: Object) -> Object:
    """Return the one container of the deployment."""
    (found,) = pod(deployment)["containers"]
    assert isinstance(found, dict)
    return found


def pod_labels(deployment: Object) -> dict[str, str]:
    """Return the labels that its pods have."""
    labels: dict[str, str] = deployment["spec"]["template"]["metadata"]["labels"]
    return labels


def env_file(path: Path) -> dict[str, str]:
    """Return the variables of an env file."""
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def variables(deployment: Object, shared: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of its container, with *shared* under it, as the cluster would fill it in."""
    own = {item["name"]: item.get("value", POD_IP) for item in container(deployment).get("env", [])}
    return {name: value.replace("$(POD_IP)", POD_IP) for name, value in {**shared, **own}.items()}


def filled_in(value: str) -> str:
    """Return *value* as compose fills it in where no variable is set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)


def engine_of(image: str) -> str:
    """Return the engine that the image's tag names."""
    return image.rpartition(":")[2]


def settings_of(
    role: str, engine: str, environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> ProcessSettings:
    """Return the settings that a process of *role* would have in *environment*; a bad value ends the test."""
    for name in [name for name in os.environ if name.startswith(f"{role.upper()}_")]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if role == "gateway":
        return parse(GatewaySettings, [], "gateway")
    settings: type[ServiceSettings] = getattr(
        importlib.import_module(f"services.{role}.settings"), f"{role.capitalize()}Settings"
    )
    return configure(role, settings, ["--engine", engine])[0]


def unknown(role: str, settings: ProcessSettings, environment: Mapping[str, str]) -> list[str]:
    """Return the variables with the role's prefix that its process does not know."""
    prefix = f"{role.upper()}_"
    fields = type(settings).model_fields
    return [name for name in environment if name.startswith(prefix) and name.removeprefix(prefix).lower() not in fields]


@cache
def metrics() -> frozenset[str]:
    """Return the names of all series that processes of the suite export."""
    for module in ("bus.metrics", "gateway.metrics", *(f"services.{role}.metrics" for role in SERVICES)):
        importlib.import_module(module)
    return frozenset(_series())


def _series() -> Iterator[str]:
    endings = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
    for family in REGISTRY.collect():
        for ending in endings.get(family.type, ()):
            yield family.name + ending
