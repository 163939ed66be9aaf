"""What the agent says: failures, limits, grants, usage."""

import pytest

from gateway.core.realtime import client_events as client
from gateway.core.realtime import commands as do
from gateway.core.realtime import events as ev
from gateway.core.realtime import notices as tell
from gateway.core.realtime.answers import AHEAD_MS, GRANT_STEP_MS
from gateway.core.realtime.config import SessionConfig
from gateway.core.realtime.session import NOT_READING_MS
from gateway.core.realtime.settings import RealtimeSettings
from gateway.core.response import Status
from tests.gateway.core.realtime.stories import Story, of, one, told, user

SETTINGS = RealtimeSettings()


def asked(**overrides: object) -> Story:
    story = Story()
    story.creates(user("hi"))
    story.responds(**overrides)
    return story


@pytest.mark.parametrize("role", [ev.Role.LLM, ev.Role.TTS])
def test_a_service_that_fails_fails_the_response_with_a_message(role: ev.Role) -> None:
    story = asked()
    story.tell(ev.TextDelta(story.active, "Good"))
    commands = story.tell(ev.ResponseFailed(story.active, role, "at capacity"))
    view = one(tell.ResponseDone, commands).response
    assert (view.status, view.error_code) == (Status.FAILED, f"{role.value}_failed")
    assert view.error_message == f"{role.value}: at capacity"
    assert view.output[0].status == "incomplete"
    assert one(do.CancelResponse, commands).generation == 1


def test_a_service_that_has_done_its_part_may_go() -> None:
    story = asked()
    r = story.active
    story.tell(ev.TextDelta(r, "Good day."), ev.GenerationDone(r))
    assert story.tell(ev.ResponseFailed(r, ev.Role.LLM, "gone")) == []
    story.speech(r, 100, "Good day.")
    assert one(tell.ResponseDone, story.tell(ev.SynthesisDone(r))).response.status is Status.COMPLETED


def test_a_text_answer_does_not_mind_the_tts() -> None:
    story = asked(modality="text")
    assert story.tell(ev.ResponseFailed(story.active, ev.Role.TTS, "gone")) == []


@pytest.mark.parametrize(("said", "code"), [([], "llm_timeout"), ([ev.GenerationDone], "tts_timeout")])
def test_what_does_not_come_is_given_up(said: list[type[ev.GenerationDone]], code: str) -> None:
    story = asked()
    story.tell(ev.TextDelta(story.active, "Good"), *(kind(story.active) for kind in said))
    view = one(tell.ResponseDone, story.wait(SETTINGS.text_timeout_ms)).response
    assert (view.status, view.error_code) == (Status.FAILED, code)


@pytest.mark.parametrize("reason", ["max_output_tokens", "content_filter"])
def test_an_answer_that_a_limit_cut_off_is_incomplete(reason: str) -> None:
    story = asked(max_output_tokens=4)
    r = story.active
    story.tell(ev.TextDelta(r, "Once upon a"))
    done = ev.GenerationDone(r, "content_filter" if reason == "content_filter" else "max_output_tokens", 9, 4)
    commands = story.tell(done) + story.speech(r, 100, "Once upon a") + story.tell(ev.SynthesisDone(r))
    view = one(tell.ResponseDone, commands).response
    assert (view.status, view.reason, view.output[0].status) == (Status.INCOMPLETE, reason, "incomplete")
    assert view.usage == tell.Usage(input_text=9, output_text=4, output_audio=2)
    assert not of(do.CancelResponse, commands)


def test_audio_that_overtakes_its_text_is_sent_and_belongs_to_the_same_item() -> None:
    story = asked()
    r = story.active
    commands = story.speech(r, 100, "Good") + story.tell(ev.TextDelta(r, "Good"), ev.GenerationDone(r))
    commands += story.tell(ev.SynthesisDone(r))
    assert told(commands)[:5] == ["OutputItemAdded", "ItemAdded", "PartAdded", "AudioDelta", "TextDelta"]
    assert len(of(tell.OutputItemDone, commands)) == 1


def test_the_tts_is_let_go_on_as_its_audio_is_taken_but_not_far_beyond_what_can_have_been_played() -> None:
    story = asked()
    r = story.active
    story.tell(ev.TextDelta(r, "A long story."))
    grants = []
    for _ in range(40):
        grants += of(do.Grant, story.speech(r, 1000))
        if story.session._answers.responses[0].audio_ms > story.session._answers.responses[0].granted_ms - 1000:
            break
    assert grants[0].until_ms == 2000 + AHEAD_MS
    assert SETTINGS.lead_ms - GRANT_STEP_MS <= grants[-1].until_ms <= SETTINGS.lead_ms
    assert of(do.Grant, story.wait(2 * GRANT_STEP_MS))


def test_a_client_that_does_not_read_holds_up_the_tts_and_is_sent_away() -> None:
    story = asked()
    r = story.active
    story.speech(r, 3000)
    story.tell(ev.Backlog(500))
    assert not of(do.Grant, story.speech(r, 2000))
    story.wait(NOT_READING_MS - 1)
    story.tell(ev.Backlog(0))
    assert of(do.Grant, story.wait(10))
    story.tell(ev.Backlog(500))
    commands = story.wait(NOT_READING_MS)
    assert next(type(c) for c in commands) is do.Disconnect
    assert story.ledger.closed


def test_a_tts_that_sends_more_than_it_may_fails_the_response() -> None:
    story = asked()
    r = story.active
    story.tell(ev.Backlog(1))
    assert one(tell.ResponseDone, story.speech(r, 2 * AHEAD_MS + 100)).response.error_code == "tts_failed"


def test_a_text_that_goes_on_after_a_call_is_another_message() -> None:
    story = asked(modality="text")
    r = story.active
    commands = story.tell(
        ev.TextDelta(r, "One moment."),
        ev.ToolCallDelta(r, "m1", "f", "{}", complete=True),
        ev.TextDelta(r, "Done."),
        ev.GenerationDone(r),
    )
    assert [item.type for item in one(tell.ResponseDone, commands).response.output] == [
        *["message", "function_call", "message"]
    ]


def test_a_conversation_that_does_not_fit_fails_if_nothing_may_be_left_out() -> None:
    story = Story(SessionConfig(truncation="disabled"), RealtimeSettings(context_tokens=10))
    story.creates(user("word " * 20))
    view = one(tell.ResponseDone, story.responds()).response
    assert (view.status, view.error_code) == (Status.FAILED, "context_length_exceeded")


def test_the_oldest_is_left_out_of_a_conversation_that_is_too_long_and_can_still_be_retrieved() -> None:
    story = Story(settings=RealtimeSettings(context_tokens=10))
    story.creates(user("word " * 5, "first"))
    story.creates(user("word " * 5, "second"))
    story.responds()
    assert len(story.context()) == 1
    assert told(story.tell(client.RetrieveItem("first"))) == ["ItemRetrieved"]
