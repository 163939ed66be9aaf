"""The places that one session takes, and that it leaves none behind."""

from collections.abc import AsyncIterator

import pytest

from gateway.core.events import Role
from gateway.places import Places
from proto.v1 import speech_pb2 as pb
from tests.gateway.replicas import announcement
from tests.gateway.services import World, world


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
    assert places.take_asr(1)
    assert places.take_responder(Role.LLM, "r1") is not None
    assert places.take_responder(Role.TTS, "r1") is not None
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
        taker.take_asr(1)
        taker.take_responder(Role.LLM, "r1")
        taker.take_responder(Role.TTS, "r1")
    assert [replica.role for replica in places.release_all()] == [Role.VAD, Role.ASR, Role.LLM, Role.TTS]
    assert {replica.role: len(replica.places) for replica in here.link.registry.all()} == dict.fromkeys(Role, 1)
    places.release_asr(1)
    assert list(other.release_all())
    assert here.places() == {}


async def test_the_recogniser_of_a_turn_is_known_until_its_text_is_there(here: World) -> None:
    places = Places(here.link, "s1")
    places.next_asr_inbox()
    places.take_asr(4)
    asr = places.asr(4)
    assert asr is not None
    assert places.turns_at(asr) == [4]
    assert places.asr(5) is None
    places.release_asr(4)
    assert places.turns_at(asr) == []


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
    assert not places.take_asr(1)


@pytest.mark.parametrize("role", [Role.LLM, Role.TTS])
async def test_a_role_without_room_gives_no_place_and_the_other_can_be_given_back(here: World, role: Role) -> None:
    say(here, announcement(role, instance_id=f"{role.value}-1", leases=4))
    places = Places(here.link, "s1")
    taken = {each: places.take_responder(each, "r1") for each in (Role.LLM, Role.TTS)}
    assert [each for each, replica in taken.items() if replica is None] == [role]
    places.release_responders("r1")
    assert here.places() == {}


async def test_several_responses_have_places_of_their_own(here: World) -> None:
    places = Places(here.link, "s1")
    for response_id in ("r1", "r2"):
        places.take_responder(Role.LLM, response_id)
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
    used = {role: places.take_responder(role, "r1") for role in (Role.LLM, Role.TTS)}
    places.release_responders("r1")
    for replica in used.values():
        assert replica is not None
        replica.places |= {("others", "1")}  # more loaded than its twin
    assert {role: places.take_responder(role, "r2") for role in used} == used
