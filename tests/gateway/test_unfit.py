"""Services that cannot be used are told about once, and never used."""

from typing import Any

import pytest
import structlog

from bus.frames import PROTOCOL_VERSION
from gateway import unfit
from gateway.core.events import Role
from gateway.registry import GONE_AFTER_S
from gateway.unfit import Unfit, flaw
from tests.gateway.replicas import announcement
from tests.gateway.services import World, world
from tests.support.waiting import until

NEWER = PROTOCOL_VERSION + 1


def test_a_good_announcement_has_no_flaw() -> None:
    assert not any(flaw(announcement(role)) for role in Role)


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ({"protocol_version": NEWER}, f"version {NEWER}"),
        ({"protocol_version": 0}, "version 0"),
        ({"role": 77}, "no role 77"),
        ({"instance_id": ""}, "instance_id"),
        ({"instance_id": "x" * 129}, "instance_id"),
        ({"inbox": ""}, "inbox"),
    ],
)
def test_what_cannot_be_used_is_told_by_name(said: dict[str, Any], named: str) -> None:
    assert named in flaw(announcement(Role.ASR, **said))


def test_an_instance_is_news_once() -> None:
    seen = Unfit()
    old = announcement(Role.ASR, "old", protocol_version=NEWER)
    assert [seen.is_news(old, now_s) for now_s in (0.0, 1.0, 2.0)] == [True, False, False]
    assert seen.is_news(announcement(Role.ASR, "other", protocol_version=NEWER), 2.0)


def test_a_remark_names_the_versions_while_the_service_is_heard() -> None:
    seen = Unfit()
    seen.is_news(announcement(Role.ASR, protocol_version=NEWER), 10.0)
    assert seen.remark(Role.ASR, 10.0) == f" (speaks protocol {NEWER}, not {PROTOCOL_VERSION})"
    assert seen.remark(Role.TTS, 10.0) == ""
    assert seen.remark(Role.ASR, 10.1 + GONE_AFTER_S) == ""


def test_invented_services_are_forgotten_again() -> None:
    seen = Unfit()
    for number in range(unfit.KEPT * 2):
        seen.is_news(announcement(Role.ASR, f"n{number}", protocol_version=NEWER), 0.0)
    assert len(seen._seen) == unfit.KEPT


async def test_a_service_of_another_version_is_never_used_and_both_sides_are_told_once() -> None:
    async with world(announced=False) as here:
        with structlog.testing.capture_logs() as logs:
            for service in (here.vad, here.llm, here.tts):
                service.announce()
            await here.until_known(3)
            for _ in range(3):
                here.asr.announce(protocol_version=NEWER)
            told = await here.asr.next("error")
            await announced_after(here)
        assert f"version {NEWER}" in told.error.message
        assert f"gateway {PROTOCOL_VERSION}" in told.error.message
        assert here.asr.bodies() == ["error"]
        lines = [line for line in logs if line["event"] == "service refused"]
        assert [line["role"] for line in lines] == ["asr"]
        assert here.link.pick(Role.ASR) is None
        assert here.link.not_ready() == f"not ready: asr (speaks protocol {NEWER}, not {PROTOCOL_VERSION})"
        assert here.link.health.why_not_ready() == here.link.not_ready()


async def test_beside_a_service_of_another_version_a_good_one_is_used() -> None:
    async with world() as here:
        other = here.add(Role.ASR, "asr-2")
        other.announce(protocol_version=NEWER)
        await other.next("error")
        assert here.link.not_ready() == ""
        picked = here.link.pick(Role.ASR)
        assert picked is not None
        assert picked.inbox == here.asr.address


async def test_a_service_that_is_replaced_by_one_of_our_version_is_used() -> None:
    async with world(announced=False) as here:
        here.asr.announce(protocol_version=NEWER)
        await here.asr.next("error")
        here.asr.restart()
        await here.until_known(1)
        assert "asr" not in here.link.not_ready()


async def announced_after(here: World) -> None:
    """Wait until all that the asr said before was heard."""
    here.asr.announce(instance_id="a mark")
    await until(lambda: [r for r in here.link.registry.all() if r.said.instance_id == "a mark"])
    here.asr.announce(instance_id="a mark", state=0)
    await until(lambda: len([r for r in here.link.registry.all() if r.usable]) == 3)
