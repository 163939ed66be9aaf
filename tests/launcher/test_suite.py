import shlex

import pytest

from launcher import suite
from launcher.flags import plan
from launcher.parts import Part, Plan


def planned(line: str) -> Plan:
    return plan(shlex.split(line), {})


def part(plan: Plan, name: str) -> Part:
    return next(part for part in (*plan.services, plan.gateway) if part.name == name)


@pytest.mark.parametrize(
    ("line", "expected", "unexpected"),
    [
        ("", ["ws://localhost:8765", "localhost:12345", "localhost:12346", "say FILE.wav"], ["--ws_port"]),
        ("--ws_port 9000", ["ws://localhost:9000", "say FILE.wav --ws_port 9000"], []),
        ("--mode websocket", ["ws://localhost:8765"], ["12345"]),
        ("--mode socket --recv_port 5", ["say FILE.wav --mode socket --recv_port 5"], ["ws://", "--send_port"]),
        ("--mode websocket --ws_host ::1", ["ws://[::1]:8765"], []),
    ],
)
def test_people_are_told_where_to_connect_and_what_to_try(
    line: str, expected: list[str], unexpected: list[str]
) -> None:
    shown = "\n".join(suite.addresses(planned(line)))
    for text in expected:
        assert text in shown
    for text in unexpected:
        assert text not in shown


def test_open_ports_are_chosen_before_the_start_so_that_they_can_be_told() -> None:
    plan = suite.with_ports(planned("--ws_port 0 --recv_port=0 --send_port 7"))
    chosen = {plan.settings.ws_port, plan.settings.recv_port}
    assert len(chosen - {0}) == 2
    assert f"--ws_port={plan.settings.ws_port}" in plan.gateway.args
    assert f"--recv_port={plan.settings.recv_port}" in plan.gateway.args
    assert "--send_port=7" in plan.gateway.args
    assert "--ws_port=0" not in plan.gateway.args


def test_a_plan_without_open_ports_stays_as_it_is() -> None:
    plan = planned("")
    assert suite.with_ports(plan) is plan


@pytest.mark.parametrize(
    ("complaint", "shown"),
    [
        ("flite is missing: apt-get install x, or choose --engine espeak-ng", "or choose --tts espeak-ng"),
        ("cannot serve health; choose another with --health_port (0: any)", "with --tts_health_port (0: any)"),
        ("pip install --no-deps silero-vad", "pip install --no-deps silero-vad"),
    ],
)
def test_what_a_service_complains_about_names_the_launchers_flags(complaint: str, shown: str) -> None:
    assert shown in suite.explain(part(planned("--tts flite"), "tts"), complaint)


def test_what_the_gateway_complains_about_is_shown_as_it_is() -> None:
    complaint = "cannot listen on 0.0.0.0:8765; change --ws_host or --ws_port"
    assert suite.explain(planned("").gateway, complaint) == complaint
