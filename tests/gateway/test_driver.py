"""One session on the bus: what services are asked, what becomes of their mistakes, and that no place is left behind."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest
import structlog

from bus.frames import Frame, answer
from gateway import asking, raw_driver
from gateway.core import commands as do
from gateway.core import events as ev
from gateway.core.events import Role
from gateway.core.input import BLOCK_BYTES, IN_FLIGHT_MS
from gateway.core.response import Status
from gateway.core.session import Session
from gateway.driver import UNRESPONSIVE_MS
from gateway.errors import RefusedError
from proto.v1 import speech_pb2 as pb
from tests.gateway.replicas import ROLE_NUMBERS
from tests.gateway.services import AT_ONCE, SECOND, FakeClient, FakeService, World, world
from tests.support.bus import PATIENCE_S
from tests.support.waiting import until


@pytest.fixture
async def here() -> AsyncIterator[World]:
    async with world() as here:
        yield here


# -- a conversation ---------------------------------------------------------------------------------------------------


async def test_the_vad_is_told_how_to_listen_and_where_speech_goes(here: World) -> None:
    opened = await here.opened()
    assert opened.header.session_id == here.driver.session_id
    assert (opened.header.reply_to, opened.header.next) == (here.link.address, here.asr.address)
    assert opened.session_open.endpointing.silence_duration_ms == 500
    assert opened.session_open.recognition.language == "en"
    assert (opened.session_open.at_sample, opened.session_open.first_turn_id) == (0, 1)


async def test_audio_goes_to_the_vad_with_its_position_and_the_time_at_which_it_came(here: World) -> None:
    await here.opened()
    await here.driver.feed(SECOND)
    first, second = await here.vad.next("audio"), await here.vad.next("audio")
    assert (first.audio.at_sample, second.audio.at_sample) == (0, BLOCK_BYTES // 2)
    assert first.audio.pcm == SECOND[:BLOCK_BYTES]
    assert first.header.next == here.asr.address
    assert [stamp.stage for stamp in first.header.stamps] == [pb.Stamp.GATEWAY_RECEIVED]


async def test_a_turn_is_answered(here: World) -> None:
    await here.opened()
    request = await here.says(1, "what time is it")
    header = request.header
    assert (header.turn_id, header.response_id, header.revision, header.generation) == (1, "r1", 0, 0)
    assert (header.reply_to, header.next) == (here.link.address, here.tts.address)
    assert header.deadline_ms == AT_ONCE.answer_timeout_ms
    assert request.generation_request.instructions == "Be brief."
    (message,) = request.generation_request.messages
    assert (message.author, message.parts[0].text) == (pb.Message.USER, "what time is it")
    synthesis = await here.tts.next("synthesis_request")
    assert (synthesis.synthesis_request.voice, synthesis.synthesis_request.sample_rate) == ("alto", 16_000)
    assert synthesis.synthesis_request.granted_ms > 0
    here.answers(request, "Noon.", SECOND)
    done = await here.client.next(do.ResponseDoneNotice)
    assert (done.status, done.text) == (Status.COMPLETED, "Noon.")
    assert here.client.pcm == SECOND
    assert here.client.ended == [False]
    assert here.places() == {"vad-1": ["audio"]}


async def test_the_latency_of_a_turn_is_told_with_its_first_audio(here: World) -> None:
    await here.opened()
    request = await here.says(1, "what time is it")
    here.answers(request, "Noon.", SECOND)
    await here.client.next(do.ResponseDoneNotice)
    ((turn_id, spent_ms),) = here.client.latencies
    assert turn_id == 1
    assert "total" in spent_ms


async def test_the_next_answer_is_asked_for_with_what_was_said_before(here: World) -> None:
    await here.opened()
    here.answers(await here.says(1, "hello"), "Good day.", b"\1\0")
    await here.client.next(do.ResponseDoneNotice)
    request = await here.says(2, "what time is it")
    told = [(m.author, m.parts[0].text) for m in request.generation_request.messages]
    assert told == [
        (pb.Message.USER, "hello"),
        (pb.Message.ASSISTANT, "Good day."),
        (pb.Message.USER, "what time is it"),
    ]


async def test_barge_in_cancels_the_answer_at_both_services(here: World) -> None:
    await here.opened()
    request = await here.says(1, "tell me a story")
    here.llm.answer(request, text_delta=pb.TextDelta(text="Once upon a time "))
    here.tts.answer(request, speech_out=pb.SpeechOut(pcm=SECOND, sample_rate=16_000, text="Once upon a time "))
    await here.client.next(do.TextNotice)
    await until(lambda: here.client.pcm)
    await here.begins_to_speak(2)
    for service in (here.llm, here.tts):
        cancel = await service.next("cancel")
        assert (cancel.header.response_id, cancel.header.generation) == ("r1", 1)
    done = await here.client.next(do.ResponseDoneNotice)
    assert done.status is Status.CANCELLED
    assert here.client.ended == [True]
    assert here.places() == {"vad-1": ["audio"], "asr-1": ["turn 2"]}


async def test_the_tts_is_granted_more_as_its_audio_is_handed_over(here: World) -> None:
    await here.opened()
    request = await here.says(1, "read to me")
    here.tts.answer(request, speech_out=pb.SpeechOut(pcm=SECOND * 3, sample_rate=16_000, text="Once"))
    grant = await here.tts.next("synthesis_grant")
    assert grant.header.response_id == "r1"
    assert grant.synthesis_grant.until_ms == 3000 + 5000


async def test_an_answer_cut_off_by_a_limit_is_incomplete(here: World) -> None:
    await here.opened()
    request = await here.says(1, "tell me a story")
    done = pb.GenerationDone(reason=pb.GenerationDone.MAX_OUTPUT_TOKENS)
    here.llm.answer(request, generation_done=done)
    here.speaks(request, "Once", b"\1\0")
    assert (await here.client.next(do.ResponseDoneNotice)).status is Status.INCOMPLETE


async def test_bodies_that_mean_nothing_yet_are_passed_over(here: World) -> None:
    await here.opened()
    request = await here.says(1, "hello")
    here.llm.answer(request, progress=pb.Progress(what="thinking"))
    here.llm.answer(request, tool_call=pb.ToolCall(call_id="c", name="clock", complete=True))
    here.answers(request, "Hi.", b"\1\0")
    assert (await here.client.next(do.ResponseDoneNotice)).status is Status.COMPLETED


# -- admission --------------------------------------------------------------------------------------------------------


async def test_a_client_is_refused_while_a_service_is_missing() -> None:
    async with world(announced=False) as here:
        here.vad.announce()
        await here.until_known(1)
        with pytest.raises(RefusedError, match="not ready: asr, llm, tts"):
            here.driver.open(max_sessions=10)
        assert here.places() == {}
        assert here.link.sessions == 0


async def test_a_client_beyond_the_bound_is_refused(here: World) -> None:
    await here.opened()
    with pytest.raises(RefusedError, match="at capacity: 1 clients are connected"):
        here.new_driver(FakeClient()).open(max_sessions=1)


async def test_no_more_clients_come_in_than_the_vad_has_places(here: World) -> None:
    drivers = [here.new_driver(FakeClient()) for _ in range(6)]
    served = 0
    for driver in drivers:
        try:
            driver.open(max_sessions=10)
            served += 1
        except RefusedError as refused:
            assert str(refused) == "at capacity: vad"  # noqa: PT017 - most are not refused
    assert served == 4
    for driver in drivers[:served]:
        driver.close()
    assert here.places() == {}


async def test_a_vad_that_refuses_is_replaced_by_another(here: World) -> None:
    second = here.add(Role.VAD, "second")
    opened = await here.opened()
    second.announce()
    await here.until_known(5)
    here.vad.refuse(opened)
    assert (await second.next("session_open")).header.session_id == here.driver.session_id
    assert here.places() == {"second-1": ["audio"]}
    assert here.client.disconnected == []


async def test_a_client_that_every_vad_refuses_is_told_to_try_again(here: World) -> None:
    here.vad.refuse(await here.opened())
    assert await here.client.is_disconnected() == ("at capacity: vad", True)
    here.driver.close()
    assert here.places() == {}


async def test_a_session_that_was_served_waits_for_a_vad_with_room(here: World) -> None:
    opened = await here.opened()
    here.vad.answer(opened, audio_ack=pb.AudioAck())
    await here.begins_to_speak(1)
    here.vad.refuse(opened)
    await here.client.next(do.InputLostNotice)
    assert here.client.disconnected == []
    second = here.add(Role.VAD, "second")
    second.announce()
    opened = await second.next("session_open")
    assert (opened.session_open.first_turn_id, opened.session_open.in_turn) == (1, True)
    assert opened.header.generation == 1


# -- recognisers ------------------------------------------------------------------------------------------------------


async def heard_again(service: FakeService, turn_id: int) -> bytes:
    """Return the audio of a whole turn that the gateway sends."""
    pcm = b""
    while True:
        frame = await service.next("speech")
        assert frame.header.turn_id == turn_id
        assert frame.speech.HasField("recognition") is (not pcm)
        pcm += frame.speech.pcm
        if frame.speech.last:
            return pcm


async def speaks_a_turn(here: World, turn_id: int = 1) -> None:
    """A second of audio is a turn, which the vad sends to the asr."""
    await here.driver.feed(SECOND)
    header = here.header(turn_id=turn_id)
    frame = answer(header, speech_started=pb.SpeechStarted(at_sample=512, decided_at_sample=4096))
    frame.header.next = here.asr.address
    here.vad._node.send(here.link.address, frame)
    await here.client.next(do.SpeechStartedNotice)


def ends_the_turn(here: World, turn_id: int = 1) -> None:
    stopped = pb.SpeechStopped(at_sample=8192, decided_at_sample=8192)
    here.vad.send(here.header(turn_id=turn_id), speech_stopped=stopped)


@pytest.mark.parametrize("how", ["refuses", "fails", "is gone"])
@pytest.mark.parametrize("early", [True, False])
async def test_a_turn_that_a_recogniser_does_not_do_is_sent_to_another(here: World, how: str, early: bool) -> None:
    await here.opened()
    await speaks_a_turn(here)
    second = here.add(Role.ASR, "second")
    second.announce()
    await here.until_known(5)
    if not early:
        ends_the_turn(here)
        await here.client.next(do.SpeechStoppedNotice)
    asked = Frame(header=here.header(turn_id=1))
    match how:
        case "refuses":
            here.asr.refuse(asked)
        case "fails":
            here.asr.fail(asked, retryable=True)
        case _:
            here.asr.announce(instance_id="asr-2", state=pb.LOADING)
    if early:
        await until(lambda: here.places() == {"vad-1": ["audio"]})
        ends_the_turn(here)
    assert await heard_again(second, 1) == SECOND[1024:16384]
    assert here.places() == {"second-1": ["turn 1"], "vad-1": ["audio"]}
    here.asr.fail(asked, pb.Error.UNKNOWN_SESSION, retryable=True)  # what the vad had still sent to the first
    second.send(here.header(turn_id=1), transcript=pb.Transcript(text="hello"))
    request = await here.llm.next("generation_request")
    assert request.generation_request.messages[-1].parts[0].text == "hello"
    assert here.places() == {"llm-1": ["r1"], "tts-1": ["r1"], "vad-1": ["audio"]}


async def test_a_turn_waits_for_its_only_recogniser_to_start_again(here: World) -> None:
    await here.opened()
    await speaks_a_turn(here)
    ends_the_turn(here)
    await here.client.next(do.SpeechStoppedNotice)
    here.asr.restart()
    assert await heard_again(here.asr, 1) == SECOND[1024:16384]
    here.asr.send(here.header(turn_id=1), transcript=pb.Transcript(text="hello"))
    assert await here.llm.next("generation_request")


async def test_the_time_in_which_a_recogniser_starts_again_does_not_count(here: World) -> None:
    await here.opened()
    await speaks_a_turn(here)
    ends_the_turn(here)
    await here.client.next(do.SpeechStoppedNotice)
    here.asr.announce(instance_id="asr-2", state=pb.LOADING)
    await until(lambda: here.driver._recognising._pending)
    due_ms = here.driver._core.next_tick_ms()
    assert due_ms is not None
    await asyncio.sleep(0.005)
    here.asr.announce(instance_id="asr-2")
    await heard_again(here.asr, 1)
    later_ms = here.driver._core.next_tick_ms()
    assert later_ms is not None
    assert later_ms > due_ms


async def test_a_turn_that_two_recognisers_fail_at_fails(here: World) -> None:
    await here.opened()
    await speaks_a_turn(here)
    ends_the_turn(here)
    await here.client.next(do.SpeechStoppedNotice)
    here.asr.fail(Frame(header=here.header(turn_id=1)), retryable=True)
    await heard_again(here.asr, 1)
    here.asr.fail(Frame(header=here.header(turn_id=1, generation=1)), retryable=True)
    assert (await here.client.next(do.TurnFailedNotice)).message == "asr: broken"
    assert here.places() == {"vad-1": ["audio"]}


async def test_the_cancel_of_a_turn_that_was_sent_again_means_that_one_too(here: World) -> None:
    await here.opened()
    await speaks_a_turn(here)
    ends_the_turn(here)
    await here.client.next(do.SpeechStoppedNotice)
    here.asr.fail(Frame(header=here.header(turn_id=1)), retryable=True)
    sent = await here.asr.next("speech")
    here.driver._carry_out([do.CancelTurn(1)])
    assert (await here.asr.next("cancel")).header.generation > sent.header.generation
    assert here.places() == {"vad-1": ["audio"]}


async def test_a_turn_that_no_recogniser_takes_in_time_fails(here: World) -> None:
    here.driver = here.new_driver(here.client, replace(AT_ONCE, transcript_timeout_ms=1))
    await here.opened()
    here.asr.announce(state=pb.DRAINING)
    await until(here.link.not_ready)
    await here.driver.feed(SECOND)
    assert (await here.vad.next("audio")).header.next == ""
    await here.begins_to_speak(1)
    here.stops_speaking(1)
    assert (await here.client.next(do.TurnFailedNotice)).message == "asr: not ready"


async def test_a_transcript_that_overtakes_the_start_of_its_turn_counts_and_leaves_no_place(here: World) -> None:
    await here.opened()
    here.asr.send(here.header(turn_id=1), transcript=pb.Transcript(text="hello"))
    await until(lambda: here.driver._recognising._ended_early)
    await here.begins_to_speak(1)
    await here.client.next(do.TranscriptNotice)
    assert here.places() == {"vad-1": ["audio"]}
    here.stops_speaking(1)
    assert (await here.llm.next("generation_request")).header.turn_id == 1


async def test_a_refusal_that_overtakes_the_start_of_its_turn_counts_and_leaves_no_place(here: World) -> None:
    await here.opened()
    full = pb.AtCapacity(role=pb.ASR, retry_after_ms=60_000)
    here.asr.send(here.header(turn_id=1), refusal=pb.Refusal(at_capacity=full))
    await until(lambda: here.driver._recognising._ended_early)
    await here.begins_to_speak(1)
    assert here.places() == {"vad-1": ["audio"]}
    assert here.link.pick(Role.ASR) is None
    here.stops_speaking(1)
    second = here.add(Role.ASR, "second")
    second.announce()
    assert (await second.next("speech")).header.turn_id == 1


async def test_a_turn_whose_recogniser_fails_starts_no_answer(here: World) -> None:
    await here.opened()
    await here.begins_to_speak(1)
    here.stops_speaking(1)
    here.asr.send(here.header(turn_id=1), error=pb.Error(code=pb.Error.ENGINE_FAILED, message="broken", role=pb.ASR))
    assert (await here.client.next(do.TurnFailedNotice)).message == "asr: broken"
    await here.says(2, "hello")
    assert [body for body in here.llm.bodies() if body == "generation_request"] == ["generation_request"]


async def test_a_transcript_that_is_overdue_is_cancelled(here: World) -> None:
    driver = here.driver = here.new_driver(here.client, replace(AT_ONCE, transcript_timeout_ms=1))
    await here.opened()
    await here.begins_to_speak(1)
    here.stops_speaking(1)
    await here.client.next(do.TurnFailedNotice)
    cancel = await here.asr.next("cancel")
    assert (cancel.header.session_id, cancel.header.turn_id) == (driver.session_id, 1)
    assert here.places() == {"vad-1": ["audio"]}


# -- llm and tts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", [Role.LLM, Role.TTS])
@pytest.mark.parametrize("how", ["refuses", "fails", "is gone"])
async def test_an_answer_that_a_service_does_not_make_is_made_by_another(here: World, role: Role, how: str) -> None:
    await here.opened()
    first = await here.says(1, "hello")
    asked = await here.tts.next("synthesis_request")
    service, request = (here.llm, first) if role is Role.LLM else (here.tts, asked)
    second = here.add(role, "second")
    second.announce()
    await here.until_known(5)
    match how:
        case "refuses":
            service.refuse(request)
        case "fails":
            service.fail(request, retryable=True)
        case _:
            service.announce(instance_id="another", state=pb.LOADING)
    llm, tts = (second, here.tts) if role is Role.LLM else (here.llm, second)
    again = await llm.next("generation_request")
    synthesis = await tts.next("synthesis_request")
    assert again.generation_request == first.generation_request
    assert synthesis.synthesis_request == asked.synthesis_request
    assert again.header.next == tts.address
    assert {again.header.generation, synthesis.header.generation} == {1}
    stale = "of the first request "
    here.llm.answer(first, text_delta=pb.TextDelta(text=stale))
    here.tts.answer(first, speech_out=pb.SpeechOut(pcm=b"\2\0" * 100, sample_rate=16_000, text=stale))
    llm.answer(again, text_delta=pb.TextDelta(text="Hi."))
    llm.answer(again, generation_done=pb.GenerationDone(deltas=1))
    tts.answer(again, speech_out=pb.SpeechOut(pcm=SECOND, sample_rate=16_000, text="Hi."))
    tts.answer(again, synthesis_done=pb.SynthesisDone())
    done = await here.client.next(do.ResponseDoneNotice)
    assert (done.status, done.text) == (Status.COMPLETED, "Hi.")
    assert here.client.pcm == SECOND
    assert here.places() == {"vad-1": ["audio"]}


@pytest.mark.parametrize("role", [Role.LLM, Role.TTS])
async def test_an_answer_waits_for_its_only_service_to_start_again(here: World, role: Role) -> None:
    await here.opened()
    await here.says(1, "hello")
    (here.llm if role is Role.LLM else here.tts).restart()
    again = await here.llm.next("generation_request")
    here.answers(again, "Hi.", SECOND)
    assert (await here.client.next(do.ResponseDoneNotice)).status is Status.COMPLETED


@pytest.mark.parametrize("role", [Role.LLM, Role.TTS])
async def test_an_answer_that_two_services_fail_at_fails_and_the_next_turn_is_answered(here: World, role: Role) -> None:
    await here.opened()
    service = here.llm if role is Role.LLM else here.tts
    service.fail(await here.says(1, "hello"), retryable=True)
    service.fail(await here.llm.next("generation_request"), retryable=True)
    done = await here.client.next(do.ResponseDoneNotice)
    assert (done.status, done.message) == (Status.FAILED, f"{role.value}: broken")
    assert here.places() == {"vad-1": ["audio"]}
    here.answers(await here.says(2, "again"), "Hi.", b"\1\0")
    assert (await here.client.next(do.ResponseDoneNotice)).status is Status.COMPLETED


async def test_what_cannot_be_done_anywhere_is_not_tried_again(here: World) -> None:
    await here.opened()
    here.tts.fail(await here.says(1, "hello"), pb.Error.INVALID_REQUEST)
    assert (await here.client.next(do.ResponseDoneNotice)).message == "tts: broken"
    assert here.llm.bodies().count("generation_request") == 1


@pytest.mark.parametrize("role", [Role.LLM, Role.TTS])
async def test_an_answer_that_nobody_has_room_for_in_time_fails(
    here: World, role: Role, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "ROOM_S", 0)
    await here.opened()
    service = here.llm if role is Role.LLM else here.tts
    service.announce(leases=4)
    await until(lambda: here.link.pick(role) is None)
    await here.begins_to_speak(1)
    here.stops_speaking(1)
    here.asr.send(here.header(turn_id=1), transcript=pb.Transcript(text="hello"))
    done = await here.client.next(do.ResponseDoneNotice)
    assert (done.status, done.message) == (Status.FAILED, f"{role.value}: at capacity")
    assert here.places() == {"vad-1": ["audio"]}


async def test_an_answer_that_nobody_has_room_for_is_made_when_a_place_is_given_back(here: World) -> None:
    here.tts.announce(capacity=1)
    await until(lambda: here.link.registry.at(here.tts.address).said.capacity == 1)  # type: ignore[union-attr]
    await here.opened()
    first = await here.says(1, "hello")
    client, here.client = here.client, FakeClient()
    driver, here.driver = here.driver, here.new_driver(here.client)
    await here.opened()
    await here.begins_to_speak(1)
    here.stops_speaking(1)
    here.asr.send(here.header(turn_id=1), transcript=pb.Transcript(text="me too"))
    await here.client.next(do.ResponseStartedNotice)
    assert here.llm.bodies().count("generation_request") == 1
    here.answers(first, "Hi.", b"\1\0")
    await client.next(do.ResponseDoneNotice)
    assert (await here.llm.next("generation_request")).header.session_id == here.driver.session_id
    driver.close()


async def test_a_hole_in_the_text_or_the_audio_is_noticed_and_the_answer_made_again(here: World) -> None:
    await here.opened()
    request = await here.says(1, "hello")
    here.llm.answer(request, text_delta=pb.TextDelta(text="one ", seq=0))
    here.llm.answer(request, text_delta=pb.TextDelta(text="three ", seq=2))
    again = await here.llm.next("generation_request")
    assert again.header.generation == 1
    here.llm.answer(again, text_delta=pb.TextDelta(text="one ", seq=0))
    here.llm.answer(again, generation_done=pb.GenerationDone(deltas=2))
    assert (await here.client.next(do.ResponseDoneNotice)).message == "llm: a piece of the text is missing"
    request = await here.says(2, "and now?")
    here.tts.answer(request, speech_out=pb.SpeechOut(pcm=b"", sample_rate=16_000, at_ms=0, text="Hi."))
    here.tts.answer(request, speech_out=pb.SpeechOut(pcm=SECOND, sample_rate=16_000, at_ms=500))
    assert (await here.llm.next("generation_request")).header.response_id == "r2"


async def test_an_llm_that_has_done_its_part_may_go(here: World) -> None:
    await here.opened()
    request = await here.says(1, "hello")
    here.llm.answer(request, text_delta=pb.TextDelta(text="Hi."))
    here.llm.answer(request, generation_done=pb.GenerationDone(reason=pb.GenerationDone.STOP))
    here.tts.answer(request, speech_out=pb.SpeechOut(pcm=b"\1\0", sample_rate=16_000, text="Hi."))
    await here.client.next(do.TextNotice)
    old = here.link.pick(Role.LLM)
    assert old is not None
    here.llm.restart()
    await until(lambda: old.gone)
    here.speaks(request, "Hi.", SECOND)
    assert (await here.client.next(do.ResponseDoneNotice)).status is Status.COMPLETED


async def test_an_answer_that_never_comes_is_given_up_and_cancelled(here: World) -> None:
    here.driver = here.new_driver(here.client, replace(AT_ONCE, text_timeout_ms=1))
    await here.opened()
    await here.says(1, "hello")
    assert (await here.client.next(do.ResponseDoneNotice)).message == "llm: nothing came in time"
    assert (await here.llm.next("cancel")).header.response_id == "r1"
    assert (await here.tts.next("cancel")).header.response_id == "r1"


# -- the vad ----------------------------------------------------------------------------------------------------------


async def test_a_vad_that_is_started_again_gets_what_the_old_one_had_not_used(here: World) -> None:
    opened = await here.opened()
    here.vad.answer(opened, audio_ack=pb.AudioAck())
    await here.driver.feed(SECOND)
    here.vad.answer(opened, audio_ack=pb.AudioAck(consumed_sample=10_000))
    core = here.driver._core
    assert isinstance(core, Session)
    await until(lambda: core._input.consumed_sample == 10_000)
    here.vad.restart()
    opened = await here.vad.next("session_open")
    assert (opened.session_open.at_sample, opened.session_open.first_turn_id) == (0, 1)  # it hears a little again
    assert opened.header.generation == 1
    audio = await here.vad.next("audio")
    assert (audio.audio.at_sample, audio.header.generation) == (0, 1)
    assert audio.audio.pcm == SECOND[:BLOCK_BYTES]
    here.vad.send(here.header(turn_id=1), speech_started=pb.SpeechStarted())  # of the first place: late
    assert here.places() == {"vad-2": ["audio"]}


async def test_many_errors_of_one_loss_lead_to_one_new_place(here: World) -> None:
    opened = await here.opened()
    here.vad.answer(opened, audio_ack=pb.AudioAck())
    await here.driver.feed(SECOND)
    await here.vad.next("audio")
    for _ in range(3):  # the lease is gone; every frame that was under way brings an error
        here.vad.fail(opened, pb.Error.UNKNOWN_SESSION)
    again = await here.vad.next("session_open")
    again.header.turn_id = 1
    here.vad.answer(again, speech_started=pb.SpeechStarted())
    await here.client.next(do.SpeechStartedNotice)
    assert here.vad.bodies().count("session_open") == 2
    assert not [notice for notice in here.client.told if isinstance(notice, do.InputLostNotice)]


async def test_a_session_that_loses_vads_again_and_again_waits_in_between(here: World) -> None:
    for _ in range(2):
        opened = await (here.opened() if not here.vad.received else here.vad.next("session_open"))
        here.vad.answer(opened, audio_ack=pb.AudioAck())
        here.vad.fail(opened)
    assert (await here.client.next(do.InputLostNotice)).message == "vad: broken"
    assert here.places() == {}
    here.driver.look_again()
    assert await here.vad.next("session_open")


async def test_a_session_leaves_a_vad_that_drains_between_two_turns(here: World) -> None:
    await here.opened()
    await speaks_a_turn(here)
    second = here.add(Role.VAD, "second")
    second.announce()
    await here.until_known(5)
    here.vad.announce(state=pb.DRAINING)
    await until(lambda: not here.driver._places.vad.usable)  # type: ignore[union-attr]
    here.driver.look_again()
    assert "session_close" not in here.vad.bodies()
    ends_the_turn(here)
    assert await here.vad.next("session_close")
    opened = await second.next("session_open")
    assert (opened.session_open.at_sample, opened.session_open.first_turn_id) == (8192, 2)
    assert here.places() == {"asr-1": ["turn 1"], "second-1": ["audio"]}
    assert not [notice for notice in here.client.told if isinstance(notice, do.InputLostNotice)]


async def test_a_vad_that_fails_when_it_is_opened_is_not_asked_again_at_once(here: World) -> None:
    opened = await here.opened()
    here.vad.fail(opened)
    assert (await here.client.next(do.InputLostNotice)).message == "vad: broken"
    assert here.link.pick(Role.VAD) is None
    assert here.places() == {}
    await until(lambda: here.link.pick(Role.VAD))
    here.driver.look_again()
    assert await here.vad.next("session_open")


async def test_a_vad_that_uses_nothing_is_left_for_another(here: World) -> None:
    here.driver = here.new_driver(here.client, replace(AT_ONCE, vad_timeout_ms=20))
    await here.opened()
    second = here.add(Role.VAD, "second")
    second.announce()
    await here.until_known(5)
    await here.driver.feed(SECOND)
    assert (await here.client.next(do.InputLostNotice)).message == "vad: nothing came in time"
    assert await here.vad.next("session_close")
    assert (await second.next("session_open")).session_open.at_sample == 0
    (unresponsive,) = [r for r in here.link.registry.all() if r.inbox == here.vad.address]
    assert unresponsive.full_until_s > asyncio.get_running_loop().time() + UNRESPONSIVE_MS / 2000


async def test_a_mistake_in_one_frame_is_not_the_end_of_the_place(here: World) -> None:
    opened = await here.opened()
    here.vad.answer(opened, audio_ack=pb.AudioAck())
    here.vad.fail(opened, pb.Error.BAD_FRAME)
    await here.begins_to_speak(1)
    assert not [notice for notice in here.client.told if isinstance(notice, do.InputLostNotice)]


# -- flow control and the end -----------------------------------------------------------------------------------------


async def test_the_client_is_not_read_while_the_vad_is_far_behind(here: World) -> None:
    opened = await here.opened()
    feeding = asyncio.create_task(here.driver.feed(SECOND * 10))
    for _ in range(IN_FLIGHT_MS * 32 // BLOCK_BYTES):
        frame = await here.vad.next("audio")
    assert not feeding.done()
    while not feeding.done():
        consumed = frame.audio.at_sample + len(frame.audio.pcm) // 2
        here.vad.answer(opened, audio_ack=pb.AudioAck(consumed_sample=consumed))
        if consumed == 160_000 // 512 * 512:
            break
        frame = await here.vad.next("audio")
        assert frame.audio.at_sample * 2 - consumed * 2 <= IN_FLIGHT_MS * 32
    await asyncio.wait_for(feeding, PATIENCE_S)


async def test_closing_releases_a_client_that_waits_to_be_read(here: World) -> None:
    await here.opened()
    feeding = asyncio.create_task(here.driver.feed(SECOND * 10))
    finishing = asyncio.create_task(here.driver.finish())
    await here.vad.next("audio")
    here.driver.close()
    await asyncio.wait_for(asyncio.gather(feeding, finishing), PATIENCE_S)


async def test_a_client_that_has_said_everything_waits_for_its_last_answer(here: World) -> None:
    driver = here.driver = here.new_driver(here.client, replace(AT_ONCE, starvation_ms=1))
    await here.opened()
    request = await here.says(1, "hello")
    finishing = asyncio.create_task(driver.finish())
    here.llm.answer(request, text_delta=pb.TextDelta(text="Hi."))
    await asyncio.sleep(0.01)
    assert not finishing.done()
    here.llm.answer(request, generation_done=pb.GenerationDone())
    here.speaks(request, "Hi.", SECOND)
    await asyncio.wait_for(finishing, PATIENCE_S)
    assert here.client.pcm == SECOND


async def test_a_session_that_is_drained_finishes_its_answer_and_leaves(here: World) -> None:
    await here.opened()
    request = await here.says(1, "hello")
    here.link.drain()
    assert not here.client.left
    with pytest.raises(RefusedError, match="the server is stopping"):
        here.new_driver(FakeClient()).open(max_sessions=10)
    here.answers(request, "Hi.", SECOND)
    await here.client.next(do.ResponseDoneNotice)
    assert here.client.left
    assert here.client.pcm == SECOND


async def test_a_session_in_which_nothing_goes_on_leaves_at_once(here: World) -> None:
    await here.opened()
    here.link.drain()
    assert here.client.left
    waiting = asyncio.create_task(here.link.until_empty())
    here.driver.close()
    await asyncio.wait_for(waiting, PATIENCE_S)


async def test_closing_is_idempotent_and_leaves_nothing_behind(here: World) -> None:
    opened = await here.opened()
    await here.driver.feed(SECOND)
    here.vad.answer(opened, audio_ack=pb.AudioAck(consumed_sample=100))
    await here.says(1, "hello")
    here.driver.close()
    here.driver.close()
    for service in (here.vad, here.asr, here.llm, here.tts):
        assert (await service.next("session_close")).header.session_id == here.driver.session_id
    assert here.places() == {}
    assert here.link.sessions == 0
    assert here.driver._timer is None or here.driver._timer.cancelled()


async def test_nothing_is_left_behind_after_every_service_has_failed_once(here: World) -> None:
    opened = await here.opened()
    here.vad.answer(opened, audio_ack=pb.AudioAck())
    request = await here.says(1, "hello")
    here.llm.fail(request)
    await here.client.next(do.ResponseDoneNotice)
    here.tts.fail(await here.says(2, "hello"))
    await here.client.next(do.ResponseDoneNotice)
    await here.begins_to_speak(3)
    here.asr.send(here.header(turn_id=3), error=pb.Error(code=pb.Error.OVERLOADED, message="full", role=pb.ASR))
    await here.client.next(do.TurnFailedNotice)
    await here.begins_to_speak(4)
    here.vad.fail(opened, pb.Error.LEASE_EXPIRED)
    await here.client.next(do.InputLostNotice)
    assert await here.vad.next("session_open")
    here.driver.close()
    assert here.places() == {}
    assert here.link.sessions == 0


# -- bugs -------------------------------------------------------------------------------------------------------------


class BrokenCore(Session):
    """A core that meets a bug in all it hears from when the test says so, the end of its client included."""

    broken = False

    def receive(self, event: ev.Event, now_ms: float) -> list[do.Command]:
        """Apply the event, and do not come to an end."""
        commands = super().receive(event, now_ms)
        if self.broken:
            raise ZeroDivisionError("canary")
        return commands


async def in_the_middle_of_an_answer(here: World, monkeypatch: pytest.MonkeyPatch, client: FakeClient) -> BrokenCore:
    """Return the core of an open session with an answer under way, and audio that the vad has not used."""
    monkeypatch.setattr(raw_driver, "Session", BrokenCore)
    here.client, here.driver = client, here.new_driver(client)
    await here.opened()
    await here.driver.feed(SECOND)
    await here.says(1, "hello")
    core = here.driver._core
    assert isinstance(core, BrokenCore)
    core.broken = True
    return core


async def hears_a_frame(here: World) -> None:
    here.vad.send(here.header(turn_id=2), speech_started=pb.SpeechStarted(at_sample=64_000, decided_at_sample=64_000))
    await until(lambda: here.client.disconnected)


async def hears_audio(here: World) -> None:
    here.driver.hear(SECOND[:BLOCK_BYTES])


async def hears_the_clock(here: World) -> None:
    here.driver._tick()


async def hears_of_a_backlog(here: World) -> None:
    here.driver.backlog(100)


async def hears_of_a_loss(here: World) -> None:
    here.llm.restart()
    await until(lambda: here.client.disconnected)


async def hears_that_a_vad_is_there(here: World) -> None:
    here.driver._places.release_vad()
    here.driver.look_again()


@pytest.mark.parametrize(
    "hears",
    [hears_a_frame, hears_audio, hears_the_clock, hears_of_a_backlog, hears_of_a_loss, hears_that_a_vad_is_there],
)
async def test_a_bug_in_the_core_ends_the_session_whatever_it_hears(
    here: World, monkeypatch: pytest.MonkeyPatch, hears: Callable[[World], Awaitable[None]]
) -> None:
    core = await in_the_middle_of_an_answer(here, monkeypatch, FakeClient())
    feeding = asyncio.create_task(here.driver.finish())
    with structlog.testing.capture_logs() as logs:
        await hears(here)
        here.driver.close()  # as listeners do then
        await until(lambda: not here.link.sessions)
    assert here.client.disconnected == [("internal error", False)]
    (failure,) = [line for line in logs if line["log_level"] == "error"]
    assert (failure["event"], failure["session"], failure["exc_info"]) == (
        "session failed",
        here.driver.session_id,
        True,
    )
    assert here.places() == {}
    for service in (here.vad, here.tts):
        assert (await service.next("session_close")).header.session_id == here.driver.session_id
    assert here.driver._timer is None or here.driver._timer.cancelled()
    await asyncio.wait_for(feeding, PATIENCE_S)
    core.broken = False
    told = len(here.client.told)
    here.driver.look_again()
    here.driver.hear(SECOND[:BLOCK_BYTES])
    assert len(here.client.told) == told
    assert here.places() == {}


async def test_a_session_ends_though_the_core_fails_at_its_end(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await in_the_middle_of_an_answer(here, monkeypatch, FakeClient())
    here.driver.close()
    await until(lambda: not here.link.sessions)
    assert here.places() == {}


async def test_a_session_ends_though_its_client_cannot_be_told(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    class Deaf(FakeClient):
        def disconnect(self, reason: str, *, try_again: bool = False) -> None:
            super().disconnect(reason, try_again=try_again)
            raise ZeroDivisionError("canary")

    await in_the_middle_of_an_answer(here, monkeypatch, Deaf())
    here.driver.hear(SECOND[:BLOCK_BYTES])
    await until(lambda: not here.link.sessions)
    assert here.places() == {}


@pytest.mark.parametrize("role", list(Role))
async def test_frames_after_the_end_reach_nobody(here: World, role: Role) -> None:
    await here.opened()
    request = await here.says(1, "hello")
    told = len(here.client.told)
    here.driver.close()
    ended = len(here.client.told)
    assert ended > told  # the answer's end
    error = pb.Error(code=pb.Error.ENGINE_FAILED, message="late", role=ROLE_NUMBERS[role])
    here.driver.frame_received("error", pb.Frame(header=request.header, error=error))
    here.driver.frame_received("speech_out", pb.Frame(header=request.header, speech_out=pb.SpeechOut(pcm=SECOND)))
    here.driver.look_again()
    assert len(here.client.told) == ended
    assert here.client.pcm == b""
    assert here.places() == {}
