"""The places that one session takes, and that it leaves none behind."""

from collections.abc import AsyncIterator

import pytest

from gateway.core.events import Role
from gateway.places import Avoided, Places
from proto.v1 import speech_pb2 as pb
from tests.gateway.replicas import announcement
from tests.gateway.services import World, world
from tests.support.waiting import until

BOTH = (Role.LLM, Role.TTS)


@pytest.fixture
async def here() -> AsyncIterator[World]:
    async with world() as here:
        yield here


def say(here: World, said: pb.Announcement) -> None:
    """Have the gateway hear *said*."""
    here.link.registry.heard(said, here.driver._loop.time())


async def test_a_place_is_taken_and_given_back_for_each_work(here: World) -> None:
    places = Places(here.link, "s1")
    assert places.take_vad()
    assert places.next_asr_inbox() == here.asr.address
    assert places.take_asr(1, here.asr.address)
    assert places.take_responders(BOTH, "r1", None) is None
    assert here.places() == {"vad-1": ["audio"], "asr-1": ["turn 1"], "llm-1": ["r1"], "tts-1": ["r1"]}
    places.release_asr(1)
    places.release_asr(1)
    places.release_responders("r1")
    places.release_vad()
    places.release_vad()
    assert here.places() == {}


async def test_all_places_are_given_back_at_once_and_who_had_one_is_told(here: World) -> None:
    places, other = Places(here.link, "s1"), Places(here.link, "s2")
    for taker in (places, other):
        taker.take_vad()
        taker.next_asr_inbox()
        taker.take_asr(1, "")
        taker.take_responders(BOTH, "r1", None)
    assert [replica.role for replica in places.release_all()] == [Role.VAD, Role.ASR, Role.LLM, Role.TTS]
    assert {replica.role: len(replica.places) for replica in here.link.registry.all()} == dict.fromkeys(Role, 1)
    places.release_asr(1)
    assert list(other.release_all())
    assert here.places() == {}


async def test_the_recogniser_of_a_turn_is_known_until_its_text_is_there(here: World) -> None:
    places = Places(here.link, "s1")
    places.take_asr(4, here.asr.address)
    asr = places.asr(4)
    assert asr is not None
    assert places.turns_at(asr) == [4]
    assert places.asr(5) is None
    places.release_asr(4)
    assert places.turns_at(asr) == []


async def test_a_turn_has_its_place_where_the_vad_sends_it(here: World) -> None:
    say(here, announcement(Role.ASR, "second"))
    places = Places(here.link, "s1")
    inboxes = {here.asr.address: "asr-1", "ipc:///nowhere/second": "second"}
    named = places.next_asr_inbox()
    (other,) = set(inboxes) - {named}
    assert places.take_asr(1, other)
    assert places.take_asr(2, "")  # a vad that does not say
    assert here.places() == {inboxes[other]: ["turn 1"], inboxes[named]: ["turn 2"]}


async def test_a_turn_that_the_vad_sends_to_nobody_has_no_place(here: World) -> None:
    places = Places(here.link, "s1")
    places.next_asr_inbox()
    assert not places.take_asr(1, "ipc:///nowhere/gone")
    assert here.places() == {}


@pytest.mark.parametrize("strictly", [True, False])
async def test_who_failed_at_a_turn_comes_last_or_not_at_all(here: World, strictly: bool) -> None:
    places = Places(here.link, "s1")
    places.take_asr(1, here.asr.address)
    failed = places.asr(1)
    places.release_asr(1)
    assert places.retake_asr(1, failed, strictly=strictly) is (None if strictly else failed)
    assert here.places() == ({} if strictly else {"asr-1": ["turn 1"]})
    places.release_asr(1)
    say(here, announcement(Role.ASR, "second", leases=3))
    replica = places.retake_asr(1, failed, strictly=strictly)
    assert replica is not None
    assert replica.said.instance_id == "second"
    assert places.asr(1) is replica
    assert here.places() == {"second": ["turn 1"]}


async def test_the_next_turn_goes_to_a_recogniser_with_room(here: World) -> None:
    say(here, announcement(Role.ASR, "second"))
    places = Places(here.link, "s1")
    first = places.next_asr_inbox()
    assert places.next_asr_inbox() == first  # the same while it has room
    replica = here.link.pick(Role.ASR, None)
    assert replica is not None
    for known in here.link.registry.all():
        if known.inbox == first:
            known.places |= {("others", str(number)) for number in range(4)}
    assert places.next_asr_inbox() not in {first, ""}


async def test_without_a_recogniser_a_turn_has_no_place(here: World) -> None:
    say(here, announcement(Role.ASR, instance_id="asr-1", state=pb.DRAINING))
    places = Places(here.link, "s1")
    assert places.next_asr_inbox() == ""
    assert not places.take_asr(1, "")


@pytest.mark.parametrize("role", [Role.LLM, Role.TTS])
async def test_a_role_without_room_is_told_and_no_place_is_taken_in_the_other(here: World, role: Role) -> None:
    say(here, announcement(role, instance_id=f"{role.value}-1", leases=4))
    places = Places(here.link, "s1")
    assert places.take_responders(BOTH, "r1", None) is role
    assert here.places() == {}
    (other,) = set(BOTH) - {role}
    assert places.take_responders([other], "r1", None) is None
    assert here.places() == {f"{other.value}-1": ["r1"]}


@pytest.mark.parametrize("strictly", ["", "nothing came in time"])
async def test_who_failed_at_a_response_comes_last_or_not_at_all(here: World, strictly: str) -> None:
    places = Places(here.link, "s1")
    places.take_responders(BOTH, "r1", None)
    avoided = Avoided(Role.LLM, places.responder(Role.LLM, "r1"), strictly)
    tts = places.responder(Role.TTS, "r1")
    places.release_responders("r1")
    assert places.take_responders(BOTH, "r1", avoided) is (Role.LLM if strictly else None)
    assert here.places() == ({} if strictly else {"llm-1": ["r1"], "tts-1": ["r1"]})
    places.release_responders("r1")
    say(here, announcement(Role.LLM, "second", leases=3))
    assert places.take_responders(BOTH, "r1", avoided) is None
    assert here.places() == {"second": ["r1"], "tts-1": ["r1"]}
    assert places.responder(Role.TTS, "r1") is tts


async def test_nobody_is_good_enough_where_nobody_had_room_in_time(here: World) -> None:
    places = Places(here.link, "s1")
    assert places.take_responders(BOTH, "r1", Avoided(Role.TTS, None, "at capacity")) is Role.TTS
    assert here.places() == {}


async def test_several_responses_have_places_of_their_own(here: World) -> None:
    places = Places(here.link, "s1")
    for response_id in ("r1", "r2"):
        places.take_responders([Role.LLM], response_id, None)
    llm = places.responder(Role.LLM, "r1")
    assert llm is not None
    assert places.responses_at(llm) == ["r1", "r2"]
    places.release_responders("r1")
    assert places.responses_at(llm) == ["r2"]
    assert places.responder(Role.LLM, "r1") is None


async def test_the_responders_used_last_are_preferred(here: World) -> None:
    say(here, announcement(Role.LLM, "second"))
    say(here, announcement(Role.TTS, "second tts"))
    places = Places(here.link, "s1")
    places.take_responders(BOTH, "r1", None)
    used = {role: places.responder(role, "r1") for role in BOTH}
    places.release_responders("r1")
    for replica in used.values():
        assert replica is not None
        replica.places |= {("others", "1")}  # more loaded than its twin
    places.take_responders(BOTH, "r2", None)
    assert {role: places.responder(role, "r2") for role in BOTH} == used


async def test_who_waits_looks_again_when_a_place_is_given_back(here: World) -> None:
    places = Places(here.link, "s1")
    places.take_responders(BOTH, "r1", None)
    looked: list[str] = []

    class Waiting:
        def frame_received(self, body: str, frame: object) -> None: ...
        def replica_lost(self, replica: object) -> None: ...
        def drain(self) -> None: ...
        def look_again(self) -> None:
            looked.append("again")

    here.link.attach("s2", Waiting())
    here.link.wait("s2")
    places.release_responders("r1")
    await until(lambda: looked)
    assert looked == ["again"]
