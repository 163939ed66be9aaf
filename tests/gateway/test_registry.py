"""Replicas come, are replaced, go, and are picked by what is free."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.frames import PROTOCOL_VERSION
from gateway.core.events import Role
from gateway.registry import GONE_AFTER_S, Registry, Replica, Wish
from proto.v1 import speech_pb2 as pb
from tests.gateway.replicas import announcement

NOW = 1000.0


def registry_of(*announcements: pb.Announcement) -> Registry:
    """Return a registry that has heard *announcements*."""
    registry = Registry()
    for said in announcements:
        registry.heard(said, NOW)
    return registry


def picked(registry: Registry, role: Role, preferred: Replica | None = None) -> str:
    """Return the name of the replica picked, "" if there is none."""
    replica = registry.pick(role, NOW, preferred=preferred)
    return replica.said.instance_id if replica else ""


def test_a_service_is_found_when_it_is_ready_and_only_once() -> None:
    registry = Registry()
    assert registry.heard(announcement(Role.ASR, state=pb.LOADING), NOW) == (None, [])
    assert registry.pick(Role.ASR, NOW) is None
    found, replaced = registry.heard(announcement(Role.ASR), NOW)
    assert found is not None
    assert replaced == []
    assert registry.heard(announcement(Role.ASR), NOW) == (None, [])
    assert registry.pick(Role.ASR, NOW) is found


def test_services_that_are_invented_do_not_fill_the_memory_and_those_known_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.registry.REPLICAS", 2)
    registry = registry_of(announcement(Role.ASR, "asr-1"), announcement(Role.ASR, "asr-2"))
    assert "2 services" in registry.no_room_for(announcement(Role.ASR, "asr-3"))
    assert registry.no_room_for(announcement(Role.ASR, "asr-2")) == ""
    registry.expire(NOW + GONE_AFTER_S + 1)
    assert registry.no_room_for(announcement(Role.ASR, "asr-3")) == ""


def test_missing_roles_are_those_that_nobody_can_do_now() -> None:
    registry = registry_of(announcement(Role.VAD), announcement(Role.ASR, state=pb.LOADING), announcement(Role.TTS))
    assert registry.missing() == [Role.ASR, Role.LLM]
    registry.heard(announcement(Role.TTS, state=pb.DRAINING), NOW)
    assert registry.missing() == [Role.ASR, Role.LLM, Role.TTS]


def test_a_process_started_again_at_the_same_address_replaces_the_old_one() -> None:
    registry = registry_of(announcement(Role.ASR, "old", inbox="ipc:///asr"))
    old = registry.pick(Role.ASR, NOW)
    assert old is not None
    found, replaced = registry.heard(announcement(Role.ASR, "new", inbox="ipc:///asr"), NOW)
    assert replaced == [old]
    assert old.gone
    assert found is registry.pick(Role.ASR, NOW, preferred=old)
    assert len(registry.all()) == 1


def test_a_service_that_misses_three_beats_is_gone() -> None:
    registry = registry_of(announcement(Role.ASR, "a"), announcement(Role.ASR, "b"))
    registry.heard(announcement(Role.ASR, "b"), NOW + 2)
    assert registry.expire(NOW + GONE_AFTER_S) == []
    (lost,) = registry.expire(NOW + GONE_AFTER_S + 0.1)
    assert (lost.said.instance_id, lost.gone, lost.usable) == ("a", True, False)
    assert registry.expire(NOW + GONE_AFTER_S + 0.2) == []
    assert [replica.said.instance_id for replica in registry.all()] == ["b"]


def test_a_service_that_was_gone_can_come_back() -> None:
    registry = registry_of(announcement(Role.ASR))
    registry.expire(NOW + 10)
    found, _ = registry.heard(announcement(Role.ASR), NOW + 11)
    assert found is not None
    assert not found.gone


@pytest.mark.parametrize(
    "said",
    [
        announcement(Role.ASR, protocol_version=PROTOCOL_VERSION + 1),
        announcement(Role.ASR, protocol_version=0),
        announcement(Role.ASR, role=pb.GATEWAY),
        announcement(Role.ASR, role=pb.ROLE_UNSPECIFIED),
    ],
    ids=["newer protocol", "no protocol", "a gateway", "no role"],
)
def test_who_speaks_another_protocol_or_is_no_service_is_ignored(said: pb.Announcement) -> None:
    registry = registry_of(said)
    assert registry.all() == []


def test_the_least_loaded_is_picked() -> None:
    registry = registry_of(
        announcement(Role.LLM, "busy", leases=3),
        announcement(Role.LLM, "free", leases=1),
        announcement(Role.LLM, "large", leases=3, capacity=100),
        announcement(Role.TTS, "other"),
    )
    assert picked(registry, Role.LLM) == "large"


def test_the_preferred_one_is_picked_while_it_has_room() -> None:
    registry = registry_of(announcement(Role.LLM, "warm", leases=3), announcement(Role.LLM, "cold"))
    warm = registry.all()[1]
    assert picked(registry, Role.LLM, warm) == "warm"
    warm.places.update({("s", str(number)) for number in range(4)})
    assert picked(registry, Role.LLM, warm) == "cold"


def test_one_that_has_refused_is_left_alone_for_as_long_as_it_asked() -> None:
    registry = registry_of(announcement(Role.ASR))
    (asr,) = registry.all()
    asr.full_until_s = NOW + 1
    assert registry.pick(Role.ASR, NOW) is None
    assert registry.pick(Role.ASR, NOW + 1) is asr


@pytest.mark.parametrize("state", [pb.LOADING, pb.DRAINING])
def test_one_that_is_not_ready_gets_no_new_work(state: pb.State.ValueType) -> None:
    registry = registry_of(announcement(Role.ASR))
    (asr,) = registry.all()
    registry.heard(announcement(Role.ASR, state=state), NOW)
    assert registry.pick(Role.ASR, NOW, preferred=asr) is None


@given(st.lists(st.tuples(st.integers(1, 8), st.integers(0, 8)), min_size=1, max_size=4), st.integers(1, 40))
def test_a_burst_of_clients_never_takes_more_than_there_is(replicas: list[tuple[int, int]], clients: int) -> None:
    """Places count when they are taken: no announcement comes during the burst."""
    registry = registry_of(
        *[
            announcement(Role.VAD, str(number), capacity=capacity, leases=leases)
            for number, (capacity, leases) in enumerate(replicas)
        ]
    )
    served = 0
    for client in range(clients):
        replica = registry.pick(Role.VAD, NOW)
        if replica is not None:
            replica.places.add((str(client), "audio"))
            served += 1
    assert all(len(replica.places) <= replica.said.capacity for replica in registry.all())
    room = sum(capacity for capacity, leases in replicas if leases < capacity)
    assert served == min(clients, room)


def test_a_wish_is_fulfilled_as_far_as_anybody_can() -> None:
    registry = Registry()
    capabilities = pb.Capabilities(languages=["de-DE", "en"], voices=["alto"])
    registry.heard(announcement(Role.TTS, "a", engine="flite", capabilities=pb.Capabilities(languages=["en"])), NOW)
    registry.heard(announcement(Role.TTS, "b", engine="kokoro", model="v1", capabilities=capabilities, leases=3), NOW)

    def picked(wish: Wish, preferred: Replica | None = None) -> str:
        replica = registry.pick(Role.TTS, NOW, preferred=preferred, wish=wish)
        assert replica is not None
        return replica.said.instance_id

    assert picked(Wish()) == "a"
    assert picked(Wish(engine="kokoro")) == "b"
    assert picked(Wish(engine="v1")) == "b"
    assert picked(Wish(language="de")) == "b"
    assert picked(Wish(voice="alto")) == "b"
    assert picked(Wish(engine="gpt-realtime")) == "a"  # nobody has it: an alias
    assert picked(Wish(engine="gpt-realtime", voice="alto")) == "b"
    assert picked(Wish(engine="kokoro"), preferred=registry.at("ipc:///nowhere/a")) == "b"
    registry.heard(announcement(Role.TTS, "b", engine="kokoro", state=pb.DRAINING), NOW)
    assert picked(Wish(engine="kokoro")) == "a"


def test_who_names_no_languages_knows_all() -> None:
    registry = Registry()
    registry.heard(announcement(Role.ASR, "a"), NOW)
    registry.heard(announcement(Role.ASR, "b", capabilities=pb.Capabilities(languages=["en"]), leases=1), NOW)
    replica = registry.pick(Role.ASR, NOW, wish=Wish(language="fr"))
    assert replica is not None
    assert replica.said.instance_id == "a"
