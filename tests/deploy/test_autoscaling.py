"""Autoscalers follow metrics that exist, can be had through the adapter, and can reach their targets."""

import importlib
import re

import pytest

from gateway.settings import GatewaySettings
from tests.deploy.manifests import KUBERNETES, ROLES, Object, documents, metrics, of_kind, rendered

AUTOSCALERS = of_kind(
    "HorizontalPodAutoscaler", documents(KUBERNETES / "components" / "autoscaling" / "autoscalers.yaml")
)
(RULE,) = documents(KUBERNETES / "prometheus-adapter.yaml")[0]["rules"]["custom"]


def followed(autoscaler: Object) -> dict[str, str]:
    """Return the targets by metric."""
    pods = [metric["pods"] for metric in autoscaler["spec"]["metrics"]]
    return {found["metric"]["name"]: found["target"]["averageValue"] for found in pods}


def number(quantity: str) -> float:
    return float(quantity[:-1]) / 1000 if quantity.endswith("m") else float(quantity)


def test_every_role_has_an_autoscaler_of_its_own() -> None:
    assert set(AUTOSCALERS) == set(ROLES)
    for name, found in AUTOSCALERS.items():
        assert found["spec"]["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
        assert found["spec"]["minReplicas"] > 1


@pytest.mark.parametrize("role", ROLES)
def test_the_metrics_are_the_suite_s_and_known_to_the_adapter(role: str) -> None:
    matched = re.search(r'__name__=~"([^"]+)"', RULE["seriesQuery"])
    assert matched is not None
    for name in followed(AUTOSCALERS[role]):
        assert name in metrics()
        assert re.fullmatch(matched[1], name)


def test_the_adapter_knows_no_metric_that_does_not_exist() -> None:
    names = re.search(r"speech_\(([^)]+)\)", RULE["seriesQuery"])
    assert names is not None
    assert {f"speech_{name}" for name in names[1].split("|")} <= metrics()


@pytest.mark.parametrize("role", ROLES)
def test_a_replica_is_added_before_the_last_place_is_taken(role: str) -> None:
    if role == "gateway":
        places, target = GatewaySettings.model_fields["max_sessions"].default, "speech_sessions"
    else:
        settings = getattr(importlib.import_module(f"services.{role}.settings"), f"{role.capitalize()}Settings")
        places, target = settings.model_fields["capacity"].default, "speech_leases"
    assert 0.25 * places <= number(followed(AUTOSCALERS[role])[target]) <= 0.75 * places


def test_autoscaled_deployments_say_no_number_of_their_own() -> None:
    objects = rendered(KUBERNETES / "overlays" / "production")
    for deployment in of_kind("Deployment", objects).values():
        assert "replicas" not in deployment["spec"]
    for name, found in of_kind("HorizontalPodAutoscaler", objects).items():
        down = found["spec"]["behavior"]["scaleDown"]
        assert down.get("selectPolicy") == ("Disabled" if name == "gateway" else None)
