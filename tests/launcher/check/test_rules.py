"""Our services keep every rule of the contract, and a service that breaks one is found out by it."""

import asyncio
import importlib
from dataclasses import replace
from typing import Final

import pytest

from bus.errors import ConfigurationError
from launcher.check.rule import ALL, Outcome, Rule
from launcher.check.rules import RULES
from tests.launcher.check.broken import FAULTS, FLAGS, Fault
from tests.launcher.check.services import OPTIONS, found_in, of, subject_of

# Every engine of ours that needs no server and no model; those that stream words take long enough to be cancelled.
ENGINES: Final = {
    "vad": (FLAGS["vad"], ("--engine", "silero")),
    "asr": (FLAGS["asr"], ("--engine", "pocketsphinx", "--workers", "2")),
    "llm": (FLAGS["llm"], ("--engine", "responder", "--token_latency", "0.06")),
    "tts": (FLAGS["tts"], ("--engine", "flite"), ("--engine", "espeak-ng")),
}
# These take twice the time to live of a lease, which is 10 s if nothing else is said.
EXPIRY: Final = {"frees-what-nobody-renews", "keeps-what-is-renewed"}
SHORT_TTL: Final = replace(OPTIONS, lease_ttl_s=1.0)
# A broken service is given up soon: what it owes will not come.
IMPATIENT: Final = replace(OPTIONS, patience_s=0.5)


def rules_of(role: str) -> set[str]:
    return {rule.name for rule in RULES if role in rule.roles}


async def broken_rules(role: str, flags: tuple[str, ...]) -> dict[str, str]:
    """Return what our service with these *flags* breaks; check that nothing was left out that could be checked."""
    async with subject_of(role, *flags) as subject:
        found = await found_in(subject)
    assert set(found) == rules_of(role)
    assert set(of(found, Outcome.SKIP)) == EXPIRY & rules_of(role), of(found, Outcome.SKIP)
    return of(found, Outcome.FAIL)


@pytest.mark.parametrize("role", ALL)
async def test_our_services_keep_every_rule(role: str) -> None:
    missing = {flags: why for flags in ENGINES[role] if (why := why_not_here(role, flags[1]))}
    here = [flags for flags in ENGINES[role] if flags not in missing]
    found = await asyncio.gather(*(broken_rules(role, flags) for flags in here))
    assert dict(zip(here, found, strict=True)) == {flags: {} for flags in here}
    if missing:
        pytest.skip(f"kept by {[flags[1] for flags in here]}; NOT checked: {list(missing.values())}")


def why_not_here(role: str, engine: str) -> str:
    """Return what is missing for *engine*, "" if nothing is."""
    module = importlib.import_module(f"services.{role}.engines.{engine.replace('-', '_')}")
    try:
        if engine in {"silero", "flite", "espeak-ng"}:
            module.Engine(module.Settings()).load()
        elif engine == "pocketsphinx":
            importlib.import_module("pocketsphinx")
    except (ConfigurationError, ImportError) as error:
        return str(error)
    return ""


async def test_leases_of_our_services_expire_unless_they_are_renewed() -> None:
    async def outcomes(role: str) -> set[Outcome]:
        slow = ("--words", "200") if role == "llm" else ()
        async with subject_of(role, *FLAGS[role], *slow, options=SHORT_TTL) as subject:
            return {verdict.outcome for verdict in (await found_in(subject, *EXPIRY)).values()}

    assert await asyncio.gather(*map(outcomes, ALL)) == [{Outcome.PASS}] * len(ALL)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.role}: {fault.name}")
async def test_a_fault_is_found_by_its_rule(fault: Fault) -> None:
    options = replace(IMPATIENT, lease_ttl_s=SHORT_TTL.lease_ttl_s) if fault.rule in EXPIRY else IMPATIENT
    async with subject_of(fault.role, *FLAGS[fault.role], options=options, tamper=fault.tamper) as subject:
        found = await found_in(subject, fault.rule)
    assert found[fault.rule].outcome is Outcome.FAIL, found[fault.rule].why


def test_there_is_a_fault_for_every_rule() -> None:
    assert {fault.rule for fault in FAULTS} == {rule.name for rule in RULES}
    assert all(fault.rule in rules_of(fault.role) for fault in FAULTS)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_has_roles_and_a_sentence_of_its_own(rule: Rule) -> None:
    assert rule.roles
    assert set(rule.roles) <= set(ALL)
    assert rule.says.endswith(".")
    assert [other.name for other in RULES if other.says == rule.says or other.name == rule.name] == [rule.name]
