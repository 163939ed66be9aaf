"""Who may reach whom under the NetworkPolicies, worked out from them as a cluster would."""

from itertools import product

import pytest

from tests.deploy.manifests import ROLES, SERVICES, Object, base, container, of_kind, pod_labels

POLICIES = list(of_kind("NetworkPolicy", base()).values())
PODS = {role: pod_labels(found) for role, found in of_kind("Deployment", base()).items()}
PORTS = {
    role: {port["name"]: port["containerPort"] for port in container(found)["ports"]}
    for role, found in of_kind("Deployment", base()).items()
}
STRANGER = {"app.kubernetes.io/name": "prometheus"}  # that it takes such a name must not be enough

# Who sends frames to whom, as in docs/architecture.md: speech and text take the short way.
ON_THE_BUS = {
    *((role, "gateway") for role in SERVICES),
    *(("gateway", role) for role in SERVICES),
    ("vad", "asr"),
    ("llm", "tts"),
}


def selects(selector: Object, labels: dict[str, str]) -> bool:
    """Tell whether a selector of pods (`matchLabels` alone) means pods with *labels*."""
    assert set(selector) <= {"matchLabels"}, "only what this reads"
    return bool(selector.get("matchLabels", {}).items() <= labels.items())


def opens(rule: Object, direction: str, peer: dict[str, str], namespace: str, port: int) -> bool:
    """Tell whether one rule lets *peer*, in *namespace*, through to TCP *port*."""
    ports = rule.get("ports")
    if ports is not None and not any(found["protocol"] == "TCP" and found["port"] == port for found in ports):
        return False
    peers = rule.get("from" if direction == "ingress" else "to")
    if peers is None:
        return True
    for found in peers:
        spaces = found.get("namespaceSelector")
        labels = {"kubernetes.io/metadata.name": namespace}
        in_space = selects(spaces, labels) if spaces is not None else namespace == "speech-to-speech"
        if in_space and selects(found.get("podSelector", {}), peer):
            return True
    return False


def allowed(direction: str, labels: dict[str, str], peer: dict[str, str], namespace: str, port: int) -> bool:
    """Tell whether a pod with *labels* may be reached by (`ingress`), or reach (`egress`), *peer*."""
    kind = direction.capitalize()
    mine = [
        p["spec"] for p in POLICIES if selects(p["spec"]["podSelector"], labels) and kind in p["spec"]["policyTypes"]
    ]
    return not mine or any(opens(rule, direction, peer, namespace, port) for p in mine for rule in p.get(direction, []))


def reaches(sender: str, receiver: str, port: int) -> bool:
    return allowed("egress", PODS[sender], PODS[receiver], "speech-to-speech", port) and allowed(
        "ingress", PODS[receiver], PODS[sender], "speech-to-speech", port
    )


@pytest.mark.parametrize(("sender", "receiver"), list(product(ROLES, ROLES)))
def test_the_bus_is_open_exactly_where_frames_travel(sender: str, receiver: str) -> None:
    assert reaches(sender, receiver, PORTS[receiver]["bus"]) == ((sender, receiver) in ON_THE_BUS)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("namespace", ["speech-to-speech", "monitoring", "default"])
def test_no_stranger_reaches_the_bus(role: str, namespace: str) -> None:
    assert not allowed("ingress", PODS[role], STRANGER, namespace, PORTS[role]["bus"])


@pytest.mark.parametrize("role", ROLES)
def test_only_prometheus_in_its_own_namespace_reads_metrics(role: str) -> None:
    port = PORTS[role]["health"]
    assert allowed("ingress", PODS[role], STRANGER, "monitoring", port)
    assert not allowed("ingress", PODS[role], STRANGER, "default", port)
    assert not allowed("ingress", PODS[role], {"app": "web"}, "monitoring", port)


@pytest.mark.parametrize("name", ["web", "recv", "send"])
def test_anybody_reaches_the_gateway_s_client_ports(name: str) -> None:
    assert allowed("ingress", PODS["gateway"], {"app": "web"}, "default", PORTS["gateway"][name])


@pytest.mark.parametrize("role", ROLES)
def test_nothing_of_the_suite_calls_the_world(role: str) -> None:
    assert not allowed("egress", PODS[role], {"app": "web"}, "default", 443)


@pytest.mark.parametrize("role", ROLES)
def test_everybody_may_ask_for_names(role: str) -> None:
    assert allowed("egress", PODS[role], {"k8s-app": "kube-dns"}, "kube-system", 53)
