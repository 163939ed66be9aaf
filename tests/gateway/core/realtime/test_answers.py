"""What the agent says: failures, limits, grants, usage."""

from dataclasses import replace

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
    story.speech(story.active, 100, "Good")
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


LATE = pytest.mark.parametrize(
    ("text_complete", "role", "timeout_ms"),
    [(False, ev.Role.LLM, SETTINGS.text_timeout_ms), (True, ev.Role.TTS, SETTINGS.speech_timeout_ms)],
)


def text_of(response_id: str, *, complete: bool) -> list[ev.Event]:
    """Return what an llm sends that says something, and whether it is done."""
    return [ev.TextDelta(response_id, "Good"), *([ev.GenerationDone(response_id)] if complete else [])]


@LATE
def test_what_does_not_come_is_asked_for_once_more_elsewhere_and_then_given_up(
    text_complete: bool, role: ev.Role, timeout_ms: int
) -> None:
    story = asked()
    sent = text_of(story.active, complete=text_complete)
    story.tell(*sent)
    assert told(story.wait(timeout_ms - 1)) == []
    commands = story.wait(1)
    again = one(do.AskAgain, commands)
    assert (again.role, again.elsewhere) == (role, "nothing came in time")
    assert told(commands) == []
    story.tell(*sent)
    view = one(tell.ResponseDone, story.wait(timeout_ms)).response
    assert (view.status, view.error_code) == (Status.FAILED, f"{role.value}_timeout")
    assert view.error_message == f"{role.value}: nothing came in time"


@LATE
def test_what_does_not_come_of_an_answer_that_is_heard_is_given_up(
    text_complete: bool, role: ev.Role, timeout_ms: int
) -> None:
    story = asked()
    story.speech(story.active, 100, "Good")
    story.tell(*text_of(story.active, complete=text_complete))
    commands = story.wait(timeout_ms)
    assert not of(do.AskAgain, commands)
    assert one(tell.ResponseDone, commands).response.error_code == f"{role.value}_timeout"


# -- asking again -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", [ev.Role.LLM, ev.Role.TTS])
def test_an_answer_of_which_the_client_has_nothing_is_asked_for_again_and_nobody_knows(role: ev.Role) -> None:
    story = asked()
    r = story.active
    first = one(do.Respond, story.ledger.commands)
    story.tell(ev.TextDelta(r, "Good day, Mr."))
    commands = story.tell(ev.ResponseFailed(r, role, "gone", retryable=True))
    assert commands == [do.AskAgain(replace(first, generation=1), role)]
    assert story.session.generation == 1
    commands = story.answers("Good evening.")
    assert [c.delta for c in of(tell.TextDelta, commands)] == ["Good evening."]
    view = one(tell.ResponseDone, commands).response
    assert (view.status, view.output[0].parts[0].text) == (Status.COMPLETED, "Good evening.")
    assert [c.output_index for c in of(tell.OutputItemAdded, commands)] == [0]
    story.responds()
    assert story.context()[-1] == "assistant: Good evening."


@pytest.mark.parametrize("role", [ev.Role.LLM, ev.Role.TTS])
def test_an_answer_that_two_services_failed_at_fails(role: ev.Role) -> None:
    story = asked()
    failed = ev.ResponseFailed(story.active, role, "gone", retryable=True)
    assert of(do.AskAgain, story.tell(failed))
    view = one(tell.ResponseDone, story.tell(failed)).response
    assert (view.status, view.error_code, view.output) == (Status.FAILED, f"{role.value}_failed", ())


def test_when_the_tts_fails_the_llm_is_asked_again_too_though_it_had_finished() -> None:
    story = asked()
    r = story.active
    story.tell(*text_of(r, complete=True))
    assert of(do.AskAgain, story.tell(ev.ResponseFailed(r, ev.Role.TTS, "gone", retryable=True)))
    # The llm works again: that it goes matters again.
    assert one(tell.ResponseDone, story.tell(ev.ResponseFailed(r, ev.Role.LLM, "gone", retryable=True)))


def test_refusals_are_no_failures() -> None:
    story = asked()
    refused = ev.ResponseFailed(story.active, ev.Role.LLM, "at capacity", retryable=True, refused=True)
    for generation in range(1, 6):
        assert one(do.AskAgain, story.tell(refused)).request.generation == generation
    assert of(do.AskAgain, story.tell(replace(refused, refused=False)))
    assert of(tell.ResponseDone, story.tell(replace(refused, refused=False)))


def test_what_may_not_be_tried_again_fails_at_once() -> None:
    story = asked()
    assert of(
        tell.ResponseDone, story.tell(ev.ResponseFailed(story.active, ev.Role.LLM, "llm: the prompt is too long"))
    )


@pytest.mark.parametrize("what", ["audio", "text", "call"])
def test_an_answer_of_which_the_client_has_something_is_not_asked_for_again(what: str) -> None:
    story = asked(modality="text" if what == "text" else "audio")
    r = story.active
    match what:
        case "audio":
            story.speech(r, 100, "Good")
        case "text":
            story.tell(ev.TextDelta(r, "Good"))
        case _:
            story.tell(ev.ToolCallDelta(r, "m1", "f", "{"))
    view = one(tell.ResponseDone, story.tell(ev.ResponseFailed(r, ev.Role.LLM, "gone", retryable=True))).response
    assert (view.status, view.output[0].status) == (Status.FAILED, "incomplete")


def test_a_call_that_waits_for_the_speech_before_it_is_not_told_and_asked_for_again() -> None:
    story = asked()
    r = story.active
    sent: list[ev.Event] = [
        ev.TextDelta(r, "One moment."),
        ev.ToolCallDelta(r, "m1", "f", "{}", complete=True),
        ev.GenerationDone(r),
    ]
    assert told(story.tell(*sent)) == []
    assert of(do.AskAgain, story.tell(ev.ResponseFailed(r, ev.Role.TTS, "gone", retryable=True)))
    commands = story.tell(*sent) + story.speech(r, 100, "One moment.") + story.tell(ev.SynthesisDone(r))
    view = one(tell.ResponseDone, commands).response
    assert [item.type for item in view.output] == ["message", "function_call"]


def test_a_response_out_of_band_is_asked_for_again_beside_the_other() -> None:
    story = asked()
    beside = one(tell.ResponseCreated, story.responds(in_conversation=False)).response.id
    again = one(do.AskAgain, story.tell(ev.ResponseFailed(beside, ev.Role.LLM, "gone", retryable=True)))
    assert again.response_id == beside
    assert one(tell.ResponseDone, story.answers("Good day.")).response.status is Status.COMPLETED
    done = one(tell.ResponseDone, story.answers("English", response_id=beside)).response
    assert (done.id, done.status) == (beside, Status.COMPLETED)


def test_text_is_held_until_the_first_audio_and_then_flows() -> None:
    story = asked()
    r = story.active
    assert story.tell(ev.TextDelta(r, "Good "), ev.TextDelta(r, "day.")) == []
    assert told(story.tell(ev.SpeechReceived(r, b"", "Good day."))) == []  # a clause begins, and is not heard yet
    commands = story.speech(r, 100)
    assert told(commands) == ["OutputItemAdded", "ItemAdded", "PartAdded", "TextDelta", "AudioDelta"]
    assert one(tell.TextDelta, commands).delta == "Good day."
    assert one(tell.TextDelta, story.tell(ev.TextDelta(r, " Well?"))).delta == " Well?"


# -- limits, grants, usage --------------------------------------------------------------------------------------------


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
    assert grants[0].until_ms == 3000 + AHEAD_MS
    assert SETTINGS.lead_ms - GRANT_STEP_MS <= grants[-1].until_ms <= SETTINGS.lead_ms
    assert of(do.Grant, story.wait(2 * GRANT_STEP_MS))


def test_a_client_that_does_not_read_holds_up_the_tts_and_is_sent_away() -> None:
    story = asked()
    r = story.active
    story.speech(r, 3000)
    story.tell(ev.Backlog(500))
    assert not of(do.Grant, story.speech(r, 3000))
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
