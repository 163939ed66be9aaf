"""The sequences of the Realtime protocol, step by step: the exact order of what the client is told."""

from dataclasses import replace

from gateway.core.realtime import client_events as client
from gateway.core.realtime import commands as do
from gateway.core.realtime import events as ev
from gateway.core.realtime import notices as tell
from gateway.core.realtime.config import SessionConfig, Tool, TurnDetection
from gateway.core.realtime.items import Item, Part
from gateway.core.response import Status
from tests.gateway.core.realtime.stories import MANUAL, TRANSCRIBED, Story, of, one, rejection, told, user

SPOKEN = ["SpeechStopped", "Committed", "ItemAdded", "ItemDone"]
OPENED = ["OutputItemAdded", "ItemAdded", "PartAdded"]
CLOSED = ["AudioDone", "TextDone", "PartDone", "ItemDone", "OutputItemDone", "ResponseDone"]
TEXT_CLOSED = CLOSED[1:]


def done(commands: list[do.Command]) -> tell.ResponseView:
    return one(tell.ResponseDone, commands).response


# -- (a) a spoken turn ------------------------------------------------------------------------------------------------


def test_a_spoken_turn_is_answered_with_speech() -> None:
    story = Story(TRANSCRIBED)
    started = one(tell.SpeechStarted, story.starts_speaking(1))
    commands = story.stops_speaking(1)
    assert told(commands) == [*SPOKEN, "ResponseCreated"]
    assert {c.item_id for c in of(tell.Committed, commands)} == {started.item_id}
    added = one(tell.ItemAdded, commands)
    assert (added.item.id, added.item.status, added.item.parts[0].text) == (started.item_id, "completed", None)
    assert added.previous_item_id is None
    assert not of(do.Respond, commands)
    commands = story.tell(ev.Transcript(1, " what time is it ", 900))
    assert told(commands) == ["TranscriptionCompleted"]
    assert one(tell.TranscriptionCompleted, commands).transcript == "what time is it"
    assert one(do.Respond, commands).wants_speech
    assert story.context() == ["user: what time is it"]
    commands = story.answers("It is noon.", 500)
    assert told(commands) == [*OPENED, "TextDelta", "AudioDelta", *CLOSED]
    assert [c.previous_item_id for c in of(tell.ItemAdded, commands)] == [started.item_id]
    view = done(commands)
    assert (view.status, view.reason) == (Status.COMPLETED, "")
    assert [(item.status, item.parts[0].text) for item in view.output] == [("completed", "It is noon.")]
    assert view.usage == tell.Usage(input_text=40, input_audio=6, output_text=4, output_audio=10)
    assert story.session.idle


def test_without_transcription_the_client_hears_nothing_of_the_text() -> None:
    story = Story()
    commands = story.says(1, "hello")
    assert told(commands) == ["SpeechStarted", *SPOKEN, "ResponseCreated"]
    assert story.context() == ["user: hello"]
    item_id = one(tell.Committed, commands).item_id
    item = one(tell.ItemRetrieved, story.tell(client.RetrieveItem(item_id))).item
    assert item.parts[0].text is None


def test_partial_transcripts_come_after_the_item_and_are_only_ever_appended_to() -> None:
    story = Story(TRANSCRIBED)
    story.starts_speaking(1)
    assert story.tell(ev.PartialTranscript(1, "what")) == []
    commands = story.stops_speaking(1)
    assert told(commands) == [*SPOKEN, "TranscriptionDelta", "ResponseCreated"]
    assert one(tell.TranscriptionDelta, story.tell(ev.PartialTranscript(1, "what time"))).delta == " time"
    assert story.tell(ev.PartialTranscript(1, "watt")) == []
    story.tell(ev.Transcript(1, "what time is it", 900))
    assert story.tell(ev.PartialTranscript(1, "what time is it now")) == []


# -- (b) manual turns -------------------------------------------------------------------------------------------------


def test_a_manual_turn_has_no_speech_events_and_is_answered_on_request_alone() -> None:
    story = Story()
    assert told(story.updates(turn_detection=None)) == ["SessionUpdated"]
    assert one(do.UpdateInput, story.ledger.commands)
    assert told(story.appends(320)) == []
    assert told(story.tell(ev.SpeechStarted(1, 0, 0))) == []
    commands = story.tell(client.CommitInput())
    assert told(commands) == ["Committed", "ItemAdded", "ItemDone"]
    assert one(do.CommitAudio, commands).at_sample == 5120
    assert one(tell.ItemAdded, commands).item.parts[0].audio_ms == 320
    assert story.tell(ev.SpeechStopped(1, 5120, 5120)) == []
    commands = story.responds()
    assert told(commands) == ["ResponseCreated"]
    assert not of(do.Respond, commands)
    commands = story.tell(ev.Transcript(1, "hello", 320))
    assert told(commands) == []
    assert story.context() == ["user: hello"]
    assert told(story.answers("Good day.")) == [*OPENED, "TextDelta", "AudioDelta", *CLOSED]


def test_a_commit_and_a_request_back_to_back_wait_for_the_text_though_the_vad_has_said_nothing_yet() -> None:
    story = Story(MANUAL)
    story.appends(320)
    story.tell(client.CommitInput())
    assert told(story.responds()) == ["ResponseCreated"]
    story.tell(ev.SpeechStarted(1, 0, 0), ev.SpeechStopped(1, 5120, 5120))
    assert one(do.Respond, story.tell(ev.Transcript(1, "hello", 320))).turn_id == 1


# -- (c) text ---------------------------------------------------------------------------------------------------------


def test_a_text_is_answered_with_text() -> None:
    story = Story()
    commands = story.creates(user("hi there", "mine"))
    assert told(commands) == ["ItemAdded", "ItemDone"]
    commands = story.responds(modality="text")
    assert told(commands) == ["ResponseCreated"]
    assert not one(do.Respond, commands).wants_speech
    commands = story.answers("Sure thing.", ms=0)
    assert told(commands) == [*OPENED, "TextDelta", *TEXT_CLOSED]
    assert done(commands).output[0].parts[0].type == "output_text"
    assert done(commands).usage == tell.Usage(input_text=40, output_text=4)


def test_a_response_to_an_empty_conversation_is_asked_for_at_once() -> None:
    story = Story()
    commands = story.responds(instructions="Greet the user.")
    assert told(commands) == ["ResponseCreated"]
    request = one(do.Respond, commands)
    assert (request.config.instructions, request.messages, request.turn_id) == ("Greet the user.", (), 0)


# -- (d) barge-in -----------------------------------------------------------------------------------------------------


def speaking_over(story: Story) -> list[do.Command]:
    story.says(1, "tell me a story")
    story.tell(ev.TextDelta(story.active, "Once upon a time there was a king"))
    story.speech(story.active, 2000, "Once upon a time there was a king")
    return story.starts_speaking(2)


def test_barge_in_is_announced_before_everything_of_the_answer_is_closed() -> None:
    story = Story()
    commands = speaking_over(story)
    assert told(commands) == ["SpeechStarted", *CLOSED]
    assert one(do.CancelResponse, commands).generation == 1
    view = done(commands)
    assert (view.status, view.reason) == (Status.CANCELLED, "turn_detected")
    assert [(item.status, item.parts[0].text) for item in view.output] == [
        ("incomplete", "Once upon a time there was a king")
    ]
    assert view.usage == tell.Usage(output_audio=40)
    story.stops_speaking(2)
    committed = of(tell.Committed, story.ledger.commands)[-1]
    assert committed.previous_item_id == view.output[0].id


def test_nothing_of_a_cancelled_answer_comes_after() -> None:
    story = Story()
    speaking_over(story)
    late = next(iter(story.ledger.responses))
    assert story.speech(late, 400, "who") == []
    assert story.tell(ev.TextDelta(late, "who"), ev.GenerationDone(late), ev.SynthesisDone(late)) == []
    assert story.tell(ev.ResponseFailed(late, ev.Role.TTS, "gone")) == []


def test_after_a_truncation_the_model_is_told_what_was_heard_alone() -> None:
    story = Story()
    item_id = done(speaking_over(story)).output[0].id
    commands = story.tell(client.TruncateItem(item_id, 0, 1000))
    assert told(commands) == ["ItemTruncated"]
    item = one(tell.ItemRetrieved, story.tell(client.RetrieveItem(item_id))).item
    assert (item.status, item.parts[0].text, len(item.parts[0].audio)) == ("incomplete", None, 48_000)
    story.stops_speaking(2)
    story.tell(ev.Transcript(2, "stop", 400))
    assert story.context() == ["user: tell me a story", "assistant: Once upon a time", "user: stop"]


def test_without_a_truncation_the_model_is_told_all_that_was_sent() -> None:
    story = Story()
    speaking_over(story)
    story.stops_speaking(2)
    story.tell(ev.Transcript(2, "stop", 400))
    assert story.context()[1] == "assistant: Once upon a time there was a king"


def test_an_answer_of_which_nothing_was_heard_leaves_no_item() -> None:
    story = Story()
    story.says(1, "hello")
    assert told(story.tell(ev.TextDelta(story.active, "Good"))) == []
    commands = story.starts_speaking(2)
    assert told(commands) == ["SpeechStarted", "ResponseDone"]
    assert (done(commands).status, done(commands).output) == (Status.CANCELLED, ())
    story.stops_speaking(2)
    story.tell(ev.Transcript(2, "wait", 400))
    assert story.context() == ["user: hello", "user: wait"]


def test_an_answer_that_the_tts_says_nothing_of_is_told_at_its_end() -> None:
    story = Story()
    story.says(1, "hello")
    assert told(story.tell(ev.TextDelta(story.active, "..."), ev.GenerationDone(story.active))) == []
    commands = story.tell(ev.SynthesisDone(story.active))
    assert told(commands) == [*OPENED, "TextDelta", *CLOSED]
    item_id = done(commands).output[0].id
    assert rejection(story.tell(client.TruncateItem(item_id, 0, 0, "e")))[0] == "unsupported_content_type"


def test_an_answer_that_may_not_be_interrupted_goes_on_and_the_next_one_waits_for_it() -> None:
    story = Story(SessionConfig(turn_detection=TurnDetection(interrupt_response=False)))
    story.says(1, "tell me a story")
    first = story.active
    assert told(story.starts_speaking(2)) == ["SpeechStarted"]
    assert told(story.stops_speaking(2)) == SPOKEN
    story.tell(ev.Transcript(2, "about a king", 400))
    story.says(3, "and a queen")
    assert story.active == first
    commands = story.answers("Once upon a time")
    assert told(commands)[-2:] == ["ResponseDone", "ResponseCreated"]
    assert story.context()[-1] == "assistant: Once upon a time"
    story.answers("A king and a queen.")
    assert story.ledger.active is None


def test_an_answer_that_waits_is_forgotten_when_the_user_interrupts() -> None:
    story = Story(SessionConfig(turn_detection=TurnDetection(interrupt_response=False)))
    story.says(1, "tell me a story")
    story.says(2, "about a king")
    story.detects(interrupt_response=True)
    assert told(story.starts_speaking(3)) == ["SpeechStarted", "ResponseDone"]
    assert story.ledger.active is None


def test_speech_after_the_end_of_an_answer_cancels_nothing_and_truncate_still_works() -> None:
    story = Story()
    story.says(1, "hello")
    item_id = done(story.answers("Good day.", 2000)).output[0].id
    assert told(story.starts_speaking(2)) == ["SpeechStarted"]
    assert told(story.tell(client.TruncateItem(item_id, 0, 700))) == ["ItemTruncated"]


# -- (e) function calls -----------------------------------------------------------------------------------------------


def test_a_function_call_goes_round() -> None:
    story = Story()
    story.updates(tools=(Tool("lamp_on"),))
    story.says(1, "light")
    response_id = story.active
    commands = story.tell(
        ev.ToolCallDelta(response_id, "m1", "lamp_on", '{"room":'),
        ev.ToolCallDelta(response_id, "m1", "lamp_on", '"hall"}', complete=True),
        ev.GenerationDone(response_id, "tool_calls"),
    )
    assert told(commands) == [
        *["OutputItemAdded", "ItemAdded", "ArgumentsDelta"],
        *["ArgumentsDone", "ItemDone", "OutputItemDone", "ResponseDone"],
    ]
    added = one(tell.ItemAdded, commands).item
    assert (added.type, added.name, added.arguments, added.status) == ("function_call", "lamp_on", "", "in_progress")
    finished = one(tell.ArgumentsDone, commands)
    assert (finished.name, finished.arguments, finished.call_id) == ("lamp_on", '{"room":"hall"}', added.call_id)
    output = Item("", "function_call_output", call_id=added.call_id, output="on")
    assert told(story.creates(output)) == ["ItemAdded", "ItemDone"]
    assert story.ledger.active is None
    story.responds()
    assert story.context() == ["user: light", f'assistant:  [{added.call_id}: lamp_on({{"room":"hall"}})]', "tool: on"]


def test_a_preamble_is_spoken_to_its_end_before_the_calls_that_follow_it_one_after_another() -> None:
    story = Story()
    story.says(1, "light")
    r = story.active
    commands = story.tell(ev.TextDelta(r, "One moment."))
    commands += story.tell(
        ev.ToolCallDelta(r, "m1", "lamp_on", "{}", 0),
        ev.ToolCallDelta(r, "m2", "fan_on", "{", 1),
        ev.ToolCallDelta(r, "m2", "fan_on", "}", 1, complete=True),
        ev.ToolCallDelta(r, "m1", "lamp_on", "", 0, complete=True),
        ev.GenerationDone(r, "tool_calls"),
    )
    assert told(commands) == []
    assert told(story.speech(r, 200, "One moment.")) == [*OPENED, "TextDelta", "AudioDelta"]
    commands = story.speech(r, 200) + story.tell(ev.SynthesisDone(r))
    call = ["OutputItemAdded", "ItemAdded", "ArgumentsDelta", "ArgumentsDone", "ItemDone", "OutputItemDone"]
    assert told(commands) == ["AudioDelta", *CLOSED[:-1], *call, *call, "ResponseDone"]
    assert [item.name for item in done(commands).output] == ["", "lamp_on", "fan_on"]
    assert [c.output_index for c in of(tell.OutputItemAdded, commands)] == [1, 2]


def test_an_output_may_come_before_the_response_is_done() -> None:
    story = Story()
    story.says(1, "light")
    commands = story.tell(ev.ToolCallDelta(story.active, "m1", "lamp_on", "{}", complete=True))
    call_id = one(tell.ArgumentsDone, commands).call_id
    output = Item("", "function_call_output", call_id=call_id, output="on")
    assert told(story.creates(output)) == ["ItemAdded", "ItemDone"]
    assert rejection(story.responds())[0] == "conversation_already_has_active_response"


# -- (f) cancel -------------------------------------------------------------------------------------------------------


def test_a_cancel_closes_what_is_open() -> None:
    story = Story()
    story.says(1, "hello")
    story.tell(ev.TextDelta(story.active, "Good"))
    story.speech(story.active, 100, "Good")
    commands = story.tell(client.CancelResponse())
    assert told(commands) == CLOSED
    assert (done(commands).status, done(commands).reason) == (Status.CANCELLED, "client_cancelled")
    assert told(story.responds()) == ["ResponseCreated"]  # at once


def test_a_cancel_before_any_item_closes_nothing() -> None:
    story = Story()
    story.says(1, "hello")
    assert told(story.tell(client.CancelResponse(story.active))) == ["ResponseDone"]


def test_a_call_that_is_cancelled_is_incomplete_and_the_model_is_not_told_of_it() -> None:
    story = Story()
    story.says(1, "light")
    story.tell(ev.ToolCallDelta(story.active, "m1", "lamp_on", '{"ro'))
    commands = story.tell(client.CancelResponse())
    assert told(commands) == ["ArgumentsDone", "ItemDone", "OutputItemDone", "ResponseDone"]
    assert one(tell.ArgumentsDone, commands).arguments == '{"ro'
    assert done(commands).output[0].status == "incomplete"
    story.responds()
    assert story.context() == ["user: light"]


# -- (g) out of band --------------------------------------------------------------------------------------------------


def test_a_response_out_of_band_runs_beside_the_conversation_and_leaves_no_trace_in_it() -> None:
    story = Story()
    story.creates(user("classify me", "mine"))
    story.says(1, "hello")
    beside = Item("", "message", "user", parts=[Part("input_text", "Which language?")])
    commands = story.responds(
        in_conversation=False, modality="text", metadata={"k": "v"}, input=(client.ItemReference("mine"), beside)
    )
    view = one(tell.ResponseCreated, commands).response
    assert (view.conversation_id, view.config.metadata) == (None, {"k": "v"})
    assert story.context() == ["user: classify me", "user: Which language?"]
    commands = story.answers("English", ms=0, response_id=view.id)
    assert told(commands) == [
        *["OutputItemAdded", "PartAdded", "TextDelta"],
        *["TextDone", "PartDone", "OutputItemDone", "ResponseDone"],
    ]
    item_id = done(commands).output[0].id
    assert rejection(story.tell(client.RetrieveItem(item_id)))[0] == "item_retrieve_invalid_item_id"
    assert told(story.answers("Hello.")) == [*OPENED, "TextDelta", "AudioDelta", *CLOSED]


def test_speech_does_not_interrupt_what_is_out_of_band() -> None:
    story = Story()
    response_id = one(tell.ResponseCreated, story.responds(in_conversation=False)).response.id
    assert told(story.starts_speaking(1)) == ["SpeechStarted"]
    assert "ResponseDone" in told(story.tell(client.CancelResponse(response_id)))


# -- (h) transcription alone ------------------------------------------------------------------------------------------


def test_a_transcription_session_never_responds() -> None:
    story = Story(replace(TRANSCRIBED, type="transcription"))
    commands = story.says(1, "hello")
    assert told(commands) == ["SpeechStarted", *SPOKEN, "TranscriptionCompleted"]
    assert rejection(story.responds()) == ("invalid_value", None, "e-respond")
    story.updates(turn_detection=None)
    assert told(story.commits(2, "again")) == ["Committed", "ItemAdded", "ItemDone", "TranscriptionCompleted"]


# -- (i) errors that the conversation finds ---------------------------------------------------------------------------


def test_a_session_that_is_too_old_ends_with_an_error() -> None:
    story = Story()
    story.says(1, "hello")
    commands = story.tell(client.SessionExpired(60))
    assert told(commands) == ["ResponseDone", "SessionOver"]
    over = one(tell.SessionOver, commands)
    assert (over.error.code, over.code) == ("session_expired", 1001)
    assert "60 minutes" in over.error.message
    assert story.tell(client.CommitInput(), ev.Tick()) == []


def test_of_a_session_that_is_over_no_audio_is_kept() -> None:
    story = Story()
    story.says(1, "hello")
    entries = story.session.conversation.entries
    assert any(entry.audio for entry in entries)
    story.tell(ev.ClientGone())
    hearing = story.session._hearing
    assert not any(entry.audio for entry in entries)
    assert (hearing._input.again(0), hearing._tape.read(0, hearing._tape.end_ms)) == ([], b"")
