"""Every client event of the Realtime protocol: what it answers, and how it is refused."""

import pytest

from gateway.core.input import BYTES_PER_MS, PAUSE_MS
from gateway.core.realtime import client_events as client
from gateway.core.realtime import commands as do
from gateway.core.realtime import events as ev
from gateway.core.realtime import notices as tell
from gateway.core.realtime.config import AudioFormat, SessionConfig, TurnDetection
from gateway.core.realtime.endpointing import endpointing_of
from gateway.core.realtime.items import Item, Part
from gateway.core.realtime.settings import RealtimeSettings
from tests.gateway.core.realtime.stories import MANUAL, Story, of, one, rejection, told, user

# -- session.update ---------------------------------------------------------------------------------------------------


def test_an_update_is_answered_with_the_whole_session() -> None:
    story = Story()
    commands = story.updates(instructions="Be brief.", tracing="auto")
    config = one(tell.SessionUpdated, commands).config
    assert (config.response.instructions, config.tracing) == ("Be brief.", "auto")
    assert story.session.config == config
    assert not of(do.UpdateInput, commands)


def test_an_update_does_not_change_the_response_that_is_being_made() -> None:
    story = Story()
    story.responds(instructions="old")
    story.updates(instructions="new", modality="text")
    done = one(tell.ResponseDone, story.answers("Hello")).response
    assert (done.config.instructions, done.config.modality) == ("old", "audio")


def test_the_voice_is_locked_once_it_was_heard() -> None:
    story = Story()
    assert told(story.updates(voice="ash")) == ["SessionUpdated"]
    story.responds()
    story.answers("Hello")
    assert rejection(story.updates(voice="sage", instructions="new")) == ("cannot_update_voice", None, "e-update")
    assert story.session.config.response.instructions == ""
    assert told(story.updates(voice="ash", instructions="new")) == ["SessionUpdated"]
    assert rejection(story.responds(voice="sage"))[0] == "cannot_update_voice"
    assert told(story.responds(voice="sage", modality="text")) == ["ResponseCreated"]


def test_the_model_may_be_named_again_and_changed_until_it_has_answered() -> None:
    story = Story(SessionConfig(model="one"))
    assert told(story.updates(model="two")) == ["SessionUpdated"]
    story.responds()
    story.answers("Hello")
    assert told(story.updates(model="two")) == ["SessionUpdated"]
    assert rejection(story.updates(model="one")) == ("invalid_value", "session.model", "e-update")


def test_the_type_can_be_changed_only_before_anything_happened() -> None:
    story = Story()
    assert told(story.updates(type="transcription")) == ["SessionUpdated"]
    story.appends(20)
    assert rejection(story.updates(type="realtime")) == ("invalid_value", "session.type", "e-update")


def test_the_input_format_stays_while_audio_is_buffered() -> None:
    story = Story(MANUAL)
    story.appends(200)
    wire = AudioFormat("pcmu", 8000)
    refused = rejection(story.updates(input_format=wire))
    assert refused == ("invalid_value", "session.audio.input.format", "e-update")
    story.tell(client.CommitInput())
    assert told(story.updates(input_format=wire)) == ["SessionUpdated"]
    story.appends(200)
    item = one(tell.ItemAdded, story.tell(client.CommitInput())).item
    assert item.parts[0].audio_ms == 200
    found = one(tell.ItemRetrieved, story.tell(client.RetrieveItem(item.id))).item.parts[0]
    assert (found.audio, found.format) == (b"\3" * 1600, wire)


def test_detection_switched_off_in_a_segment_keeps_its_audio_for_the_clients_commit() -> None:
    story = Story()
    story.starts_speaking(1)
    commands = story.updates(turn_detection=None)
    assert [type(c) for c in commands] == [do.UpdateInput, tell.SessionUpdated]
    story.appends(96)
    commands = story.tell(client.CommitInput())
    assert told(commands) == ["Committed", "ItemAdded", "ItemDone"]
    assert one(tell.ItemAdded, commands).item.parts[0].audio_ms == 192
    end = one(do.CommitAudio, commands).at_sample
    story.tell(ev.SpeechStopped(1, end, end))
    story.responds()
    story.tell(ev.Transcript(1, "hello", 192))
    assert story.context() == ["user: hello"]


def test_detection_switched_on_hears_only_what_comes_after() -> None:
    story = Story(MANUAL)
    story.appends(200)
    story.tell(ev.SpeechStarted(1, 0, 0))
    commands = story.updates(turn_detection=TurnDetection())
    kinds = [type(c) for c in commands if not isinstance(c, do.SendAudio)]
    assert kinds == [do.CancelTurn, do.ClearAudio, do.UpdateInput, tell.SessionUpdated]
    assert rejection(story.tell(client.CommitInput("e")))[0] == "input_audio_buffer_commit_empty"
    assert told(story.says(2, "hello"))[0] == "SpeechStarted"


@pytest.mark.parametrize(
    ("eagerness", "silence_ms", "threshold", "unfinished_ms"),
    [("low", 1600, 0.75, 8000), ("medium", 900, 0.5, 4000), ("auto", 900, 0.5, 4000), ("high", 500, 0.25, 2000)],
)
def test_semantic_detection_waits_by_eagerness(
    eagerness: str, silence_ms: int, threshold: float, unfinished_ms: int
) -> None:
    story = Story()
    story.detects(type="semantic_vad", eagerness=eagerness)
    asked = endpointing_of(story.session.config)
    assert (asked.silence_duration_ms, asked.end_of_turn_threshold) == (silence_ms, threshold)
    assert asked.unfinished_silence_ms == unfinished_ms
    assert 0 < asked.pause_ms < silence_ms


def test_plain_detection_asks_no_model() -> None:
    asked = endpointing_of(Story().session.config)
    assert (asked.pause_ms, asked.end_of_turn_threshold, asked.unfinished_silence_ms) == (PAUSE_MS, 0.0, 0)


def test_no_pause_is_told_of_where_a_short_silence_ends_the_turn() -> None:
    story = Story()
    story.detects(silence_duration_ms=2 * PAUSE_MS - 1)
    assert endpointing_of(story.session.config).pause_ms == 0


def test_detection_is_tuned_while_it_runs() -> None:
    story = Story()
    story.starts_speaking(1)
    assert one(do.UpdateInput, story.detects(threshold=0.8, prefix_padding_ms=100, silence_duration_ms=200))
    asked = endpointing_of(story.session.config)
    assert (asked.threshold, asked.prefix_padding_ms, asked.silence_duration_ms) == (0.8, 100, 200)
    assert not of(do.UpdateInput, story.detects(create_response=False))
    assert told(story.stops_speaking(1))[-1] == "ItemDone"


# -- input_audio_buffer -----------------------------------------------------------------------------------------------


def test_audio_is_not_answered_and_cut_at_windows() -> None:
    story = Story()
    commands = story.tell(client.AppendAudio(bytes(1000), bytes(1500)), client.AppendAudio(bytes(1100), bytes(1650)))
    assert [(type(c), getattr(c, "at_sample", None)) for c in commands] == [(do.SendAudio, 0)]


@pytest.mark.parametrize("config", [MANUAL, SessionConfig()])
def test_less_than_100_ms_cannot_be_committed(config: SessionConfig) -> None:
    story = Story(config)
    story.appends(99)
    commands = story.tell(client.CommitInput("e"))
    assert rejection(commands) == ("input_audio_buffer_commit_empty", None, "e")
    assert "buffer too small" in one(tell.Rejected, commands).message
    assert "99.00ms" in one(tell.Rejected, commands).message
    story.appends(1)
    assert told(story.tell(client.CommitInput())) == ["Committed", "ItemAdded", "ItemDone"]
    assert rejection(story.tell(client.CommitInput("e")))[0] == "input_audio_buffer_commit_empty"


def test_the_vad_is_given_the_rest_of_a_window_before_the_commit() -> None:
    story = Story(MANUAL)
    story.appends(110)
    commands = story.tell(client.CommitInput())
    sent = sum(len(c.pcm) for c in of(do.SendAudio, story.ledger.commands))
    assert sent == 110 * BYTES_PER_MS
    assert one(do.CommitAudio, commands).at_sample == 1760


def test_a_commit_ends_detected_speech_early_and_nothing_answers_it() -> None:
    story = Story()
    item_id = one(tell.SpeechStarted, story.starts_speaking(1)).item_id
    story.sends(96)
    commands = story.tell(client.CommitInput())
    assert told(commands) == ["Committed", "ItemAdded", "ItemDone"]
    assert one(tell.Committed, commands).item_id == item_id
    end = one(do.CommitAudio, commands).at_sample
    assert story.tell(ev.SpeechStopped(1, end, end), ev.Transcript(1, "hello", 96)) == []
    story.responds()
    assert story.context() == ["user: hello"]


def test_a_commit_takes_what_the_vad_has_not_judged_yet() -> None:
    story = Story()
    story.appends(500)
    end = one(do.CommitAudio, story.tell(client.CommitInput())).at_sample
    story.responds()
    assert story.tell(ev.SpeechStarted(1, 1000, 4000), ev.SpeechStopped(1, end, end)) == []
    story.tell(ev.Transcript(1, "hello", 400))
    assert story.context() == ["user: hello"]


def test_a_commit_of_what_turns_out_to_be_silence_has_an_empty_text() -> None:
    story = Story()
    story.appends(500)
    story.tell(client.CommitInput())
    story.responds(modality="text")
    assert not of(do.Respond, story.ledger.commands)
    request = one(do.Respond, story.wait(1000))
    assert request.messages == ()


def test_a_clear_forgets_the_speech_that_is_going_on() -> None:
    story = Story()
    story.starts_speaking(1)
    commands = story.tell(client.ClearInput())
    kinds = [type(c) for c in commands]
    assert kinds == [do.CancelTurn, do.ClearAudio, tell.Cleared]
    assert story.tell(ev.SpeechStopped(1, 4000, 4000), ev.Transcript(1, "no", 400)) == []
    assert told(story.tell(client.ClearInput())) == ["Cleared"]
    assert told(story.says(2, "hello"))[:2] == ["SpeechStarted", "SpeechStopped"]


def test_a_turn_that_began_before_a_clear_is_forgotten_though_it_is_told_later() -> None:
    story = Story(MANUAL)
    story.appends(320)
    story.tell(client.ClearInput())
    assert one(do.CancelTurn, story.tell(ev.SpeechStarted(1, 0, 0))).turn_id == 1
    assert story.session.newest_turn == 0
    story.tell(ev.Transcript(1, "no", 300))
    story.commits(2, "yes")
    story.responds()
    assert story.context() == ["user: yes"]


def test_the_buffer_of_manual_turns_is_bounded() -> None:
    story = Story(MANUAL, RealtimeSettings(buffer_ms=1000))
    story.appends(800)
    assert rejection(story.tell(client.AppendAudio(bytes(12_800), bytes(19_200), "e"))) == (
        "input_audio_buffer_overflow",
        None,
        "e",
    )
    assert told(story.tell(client.CommitInput()))[0] == "Committed"
    story.appends(800)


# -- conversation.item ------------------------------------------------------------------------------------------------


def test_items_go_where_they_are_told_to() -> None:
    story = Story()
    story.creates(user("b", "b"))
    story.creates(user("d", "d"), "")
    assert one(tell.ItemAdded, story.creates(user("a", "a"), "root")).previous_item_id is None
    assert one(tell.ItemDone, story.creates(user("c", "c"), "b")).previous_item_id == "b"
    assert story.ledger.order == ["a", "b", "c", "d"]
    story.responds()
    assert story.context() == ["user: a", "user: b", "user: c", "user: d"]


@pytest.mark.parametrize(
    ("item", "previous", "code", "param"),
    [
        (user("x"), "nobody", "item_create_invalid_previous_item_id", "previous_item_id"),
        (user("x", "here"), None, "item_create_duplicate_item_id", "item.id"),
        (Item("", "function_call_output", call_id="no"), None, "item_create_invalid_call_id", "item.call_id"),
        (user("x" * 2000), None, "conversation_full", "item"),
    ],
)
def test_items_are_refused(item: Item, previous: str | None, code: str, param: str) -> None:
    story = Story(settings=RealtimeSettings(max_content_bytes=1000))
    story.creates(user("y", "here"))
    assert rejection(story.creates(item, previous)) == (code, param, "e-create")
    assert story.ledger.order == ["here"]


def test_an_id_is_taken_by_the_speech_that_will_have_it_and_free_after_a_delete() -> None:
    story = Story()
    item_id = one(tell.SpeechStarted, story.starts_speaking(1)).item_id
    assert rejection(story.creates(user("x", item_id)))[0] == "item_create_duplicate_item_id"
    story.creates(user("old", "mine"))
    assert told(story.tell(client.DeleteItem("mine"))) == ["ItemDeleted"]
    assert told(story.creates(user("new", "mine"))) == ["ItemAdded", "ItemDone"]


def test_ids_are_given_where_they_are_missing_and_outputs_of_unknown_calls_where_that_is_allowed() -> None:
    story = Story(settings=RealtimeSettings(lenient_calls=True))
    item = one(tell.ItemAdded, story.creates(Item("", "function_call", name="f", arguments="{}"))).item
    assert (item.id.split("_")[0], item.call_id.split("_")[0]) == ("item", "call")
    assert told(story.creates(Item("", "function_call_output", call_id="x"))) == ["ItemAdded", "ItemDone"]


def test_created_audio_is_kept_but_not_transcribed() -> None:
    story = Story()
    commands = story.creates(Item("mine", "message", "user", parts=[Part("input_audio", audio=b"\1\2" * 2400)]))
    part = one(tell.ItemAdded, commands).item.parts[0]
    assert (part.audio, part.text, part.audio_ms) == (b"", None, 100)
    found = one(tell.ItemRetrieved, story.tell(client.RetrieveItem("mine"))).item.parts[0]
    assert found.audio == b"\1\2" * 2400


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (client.RetrieveItem("nobody", "e"), "item_retrieve_invalid_item_id"),
        (client.DeleteItem("nobody", "e"), "item_delete_invalid_item_id"),
        (client.TruncateItem("nobody", 0, 0, "e"), "item_truncate_invalid_item_id"),
    ],
)
def test_what_does_not_exist_is_refused(event: client.ClientEvent, code: str) -> None:
    commands = Story().tell(event)
    assert rejection(commands) == (code, None, "e")
    assert "the item with id 'nobody' does not exist" in one(tell.Rejected, commands).message


def answered(story: Story, ms: int = 1000) -> str:
    """Have an answer given; return its item's id."""
    story.responds()
    return one(tell.ResponseDone, story.answers("one two three four", ms)).response.output[0].id


@pytest.mark.parametrize(
    ("index", "end_ms", "refused"),
    [
        (0, 1101, ("invalid_value", "audio_end_ms", "e")),
        (1, 500, ("invalid_value", "content_index", "e")),
        (0, 1100, None),
        (0, 1000, None),
        (0, 0, None),
    ],
)
def test_an_answer_is_truncated_within_what_was_said(index: int, end_ms: int, refused: object) -> None:
    story = Story()
    commands = story.tell(client.TruncateItem(answered(story), index, end_ms, "e"))
    if refused is None:
        assert one(tell.ItemTruncated, commands).audio_end_ms == end_ms
    else:
        assert rejection(commands) == refused


def test_only_answers_with_audio_can_be_truncated() -> None:
    story = Story()
    story.creates(user("x", "mine"))
    story.responds(modality="text")
    text_id = one(tell.ResponseDone, story.answers("x", ms=0)).response.output[0].id
    for item_id in ("mine", text_id):
        assert rejection(story.tell(client.TruncateItem(item_id, 0, 0, "e")))[0] == "unsupported_content_type"


def test_an_answer_is_truncated_again_but_never_longer() -> None:
    story = Story()
    item_id = answered(story)
    story.tell(client.TruncateItem(item_id, 0, 600))
    assert rejection(story.tell(client.TruncateItem(item_id, 0, 800, "e")))[0] == "invalid_value"
    assert told(story.tell(client.TruncateItem(item_id, 0, 600), client.TruncateItem(item_id, 0, 0))) == [
        "ItemTruncated",
        "ItemTruncated",
    ]
    assert told(story.tell(client.TruncateItem(item_id, 0, 0))) == ["ItemTruncated"]
    story.responds()
    assert story.context() == []


def test_an_answer_is_truncated_while_it_is_made_and_goes_on() -> None:
    story = Story()
    story.responds()
    r = story.active
    story.tell(ev.TextDelta(r, "one two three four"))
    item_id = one(tell.AudioDelta, story.speech(r, 1000, "one two three four")).item_id
    assert told(story.tell(client.TruncateItem(item_id, 0, 500))) == ["ItemTruncated"]
    story.tell(ev.TextDelta(r, " five"), ev.GenerationDone(r))
    commands = story.speech(r, 500, " five") + story.tell(ev.SynthesisDone(r))
    assert one(tell.TextDone, commands).text == "one two three four five"
    view = one(tell.ResponseDone, commands).response.output[0]
    assert (view.parts[0].text, view.parts[0].audio_ms) == (None, 500)
    story.responds()
    assert story.context() == ["assistant: one two"]


def test_an_item_that_is_being_made_is_not_made_further_when_it_is_deleted() -> None:
    story = Story()
    story.responds()
    story.tell(ev.TextDelta(story.active, "one"))
    item_id = one(tell.ItemAdded, story.speech(story.active, 100, "one")).item.id
    commands = story.tell(client.DeleteItem(item_id))
    assert told(commands)[-2:] == ["ResponseDone", "ItemDeleted"]
    story.responds()
    assert story.context() == []


def test_a_deleted_item_gets_no_transcript_and_nobody_waits_for_it() -> None:
    story = Story(MANUAL)
    commands = story.commits(1, None)
    story.responds()
    commands = story.tell(client.DeleteItem(one(tell.Committed, commands).item_id))
    assert one(do.Respond, commands).messages == ()
    assert story.tell(ev.Transcript(1, "hello", 300)) == []


# -- response ---------------------------------------------------------------------------------------------------------


def test_a_second_response_in_the_conversation_is_refused_with_the_first_ones_id() -> None:
    story = Story()
    story.responds()
    commands = story.responds()
    assert rejection(commands) == ("conversation_already_has_active_response", None, "e-respond")
    assert story.active in one(tell.Rejected, commands).message


def test_references_must_name_items_of_the_conversation() -> None:
    story = Story()
    given = (user("x"), client.ItemReference("nobody"))
    assert rejection(story.responds(input=given)) == ("invalid_value", "response.input[1].id", "e-respond")


def test_an_input_takes_the_place_of_the_conversation_and_only_the_answer_joins_it() -> None:
    story = Story()
    story.creates(user("hi", "mine"))
    story.responds(input=())
    assert story.context() == []
    story.answers("one")
    story.responds(input=(user("what?"),))
    assert story.context() == ["user: what?"]
    story.answers("two")
    story.responds()
    assert story.context() == ["user: hi", "assistant: one", "assistant: two"]


def test_there_are_only_so_many_responses_at_a_time() -> None:
    story = Story(settings=RealtimeSettings(max_responses=2))
    story.responds(in_conversation=False)
    story.responds(in_conversation=False)
    assert rejection(story.responds())[0] == "too_many_responses"


@pytest.mark.parametrize("response_id", [None, "nobody"])
def test_a_cancel_of_nothing_is_an_error_that_clients_know(response_id: str | None) -> None:
    commands = Story().tell(client.CancelResponse(response_id, "e"))
    assert rejection(commands) == ("response_cancel_not_active", None, "e")
    assert one(tell.Rejected, commands).message.startswith("Cancellation failed")


def test_leaving_ends_everything_once() -> None:
    story = Story()
    story.responds()
    commands = story.tell(ev.ClientGone())
    assert [type(c) for c in commands] == [do.CancelResponse, tell.ResponseDone, do.CloseSession]
    assert story.tell(ev.ClientGone(), client.CommitInput()) == []
