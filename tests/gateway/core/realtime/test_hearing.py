"""What the user says: losses, time, the audio clock, idle users."""

import pytest

from gateway.core.input import BYTES_PER_MS, IN_FLIGHT_MS
from gateway.core.realtime import client_events as client
from gateway.core.realtime import commands as do
from gateway.core.realtime import events as ev
from gateway.core.realtime import notices as tell
from gateway.core.realtime.config import SessionConfig, Transcription, TurnDetection
from gateway.core.realtime.hearing import SILENCE
from gateway.core.realtime.settings import RealtimeSettings
from gateway.core.response import Status
from tests.gateway.core.realtime.stories import CHUNK_MS, MANUAL, TRANSCRIBED, Story, of, one, told, user

SETTINGS = RealtimeSettings()


def test_speech_is_placed_on_the_audio_clock_prefix_included_and_not_reset_by_a_commit() -> None:
    story = Story()
    story.sends(512)
    started = one(tell.SpeechStarted, story.starts_speaking(1))
    assert started.audio_start_ms == 608 - 400
    stopped = one(tell.SpeechStopped, story.stops_speaking(1))
    assert stopped.audio_end_ms == 608 + 512
    item = one(tell.ItemRetrieved, story.tell(client.RetrieveItem(started.item_id))).item
    assert item.parts[0].audio_ms == 912
    assert len(item.parts[0].audio) == 912 * 48
    assert one(tell.SpeechStarted, story.starts_speaking(2)).audio_start_ms == 1120 + 96 - 400


def test_noise_that_was_taken_for_speech_is_answered_by_nothing() -> None:
    story = Story(TRANSCRIBED)
    commands = story.says(1, " ")
    assert one(tell.TranscriptionCompleted, commands).transcript == ""
    done = one(tell.ResponseDone, commands).response
    assert (done.status, done.output) == (Status.COMPLETED, ())
    assert not of(do.Respond, commands)


def test_noise_after_a_question_that_was_not_answered_does_not_silence_the_answer() -> None:
    story = Story()
    story.says(1, "what time is it")
    story.says(2, "")
    assert story.context() == ["user: what time is it"]


def test_speech_that_goes_on_is_answered_with_both_turns() -> None:
    story = Story()
    story.starts_speaking(1)
    story.stops_speaking(1)
    commands = story.starts_speaking(2)
    assert one(tell.ResponseDone, commands).response.status is Status.CANCELLED
    assert not of(do.CancelResponse, commands)  # nobody had been asked
    story.stops_speaking(2)
    story.tell(ev.Transcript(1, "what time", 500))
    story.tell(ev.Transcript(2, "is it", 500))
    assert story.context() == ["user: what time", "user: is it"]


def test_a_turn_that_is_not_understood_because_the_asr_fails_makes_the_response_fail() -> None:
    story = Story(TRANSCRIBED)
    story.starts_speaking(1)
    story.stops_speaking(1)
    commands = story.tell(ev.TurnFailed(1, "asr: broken"))
    assert told(commands) == ["TranscriptionFailed", "ResponseDone"]
    view = one(tell.ResponseDone, commands).response
    assert (view.status, view.error_code, view.error_message) == (Status.FAILED, "asr_failed", "asr: broken")
    assert not of(do.Respond, story.ledger.commands)


def test_an_asr_that_fails_in_the_middle_of_speech_is_told_when_the_item_exists() -> None:
    story = Story(TRANSCRIBED)
    story.starts_speaking(1)
    assert story.tell(ev.TurnFailed(1, "asr: broken")) == []
    commands = story.stops_speaking(1)
    assert told(commands)[-3:] == ["ResponseCreated", "TranscriptionFailed", "ResponseDone"]


def test_a_request_right_after_a_turn_that_was_not_understood_fails_and_a_later_text_is_answered() -> None:
    story = Story(MANUAL)
    story.commits(1, None)
    story.tell(ev.TurnFailed(1, "asr: broken"))
    assert one(tell.ResponseDone, story.responds()).response.error_code == "asr_failed"
    story.creates(user("hello"))
    story.responds()
    assert story.context() == ["user: hello"]


def test_a_transcript_that_never_comes_is_given_up() -> None:
    story = Story(TRANSCRIBED)
    story.starts_speaking(1)
    story.stops_speaking(1)
    assert told(story.wait(SETTINGS.transcript_timeout_ms - 1)) == []
    commands = story.wait(1)
    assert one(do.CancelTurn, commands).turn_id == 1
    assert told(commands) == ["TranscriptionFailed", "ResponseDone"]


def test_a_long_manual_turn_that_the_vad_cuts_is_one_item() -> None:
    story = Story(MANUAL)
    story.appends(320)
    story.tell(ev.SpeechStarted(1, 0, 0), ev.SpeechStopped(1, 3200, 3200), ev.SpeechStarted(2, 3200, 3200))
    story.tell(ev.Transcript(1, "one two", 200))
    end = one(do.CommitAudio, story.tell(client.CommitInput())).at_sample
    story.responds()
    story.tell(ev.SpeechStopped(2, end, end), ev.Transcript(2, "three", 120))
    assert story.context() == ["user: one two three"]


def test_a_turn_that_begins_where_another_was_committed_belongs_to_the_next() -> None:
    story = Story(MANUAL)
    story.appends(320)
    story.tell(ev.SpeechStarted(1, 0, 0), client.CommitInput())
    story.appends(320)
    story.tell(ev.SpeechStopped(1, 5120, 5120), ev.SpeechStarted(2, 5120, 5120), client.CommitInput())
    story.tell(ev.SpeechStopped(2, 10_240, 10_240), ev.Transcript(2, "two", 9), ev.Transcript(1, "one", 9))
    story.responds()
    assert story.context() == ["user: one", "user: two"]


def test_a_client_that_stops_in_the_middle_of_speech_is_given_silence_that_its_clock_does_not_count() -> None:
    story = Story()
    story.starts_speaking(1)
    commands = story.wait(SETTINGS.starvation_ms + CHUNK_MS)
    silence = of(do.SendAudio, commands)
    assert sum(len(c.pcm) for c in silence) // BYTES_PER_MS == 700 // 32 * 32
    assert not any(any(c.pcm) for c in silence)
    end = silence[-1].at_sample + len(silence[-1].pcm) // 2
    commands = story.tell(ev.SpeechStopped(1, end, end))
    assert one(tell.SpeechStopped, commands).audio_end_ms == 96


def test_a_vad_that_does_not_end_a_starved_turn_is_left() -> None:
    story = Story()
    story.starts_speaking(1)
    commands = story.wait(SETTINGS.starvation_ms + CHUNK_MS + SETTINGS.vad_timeout_ms)
    assert of(do.CloseInput, commands)
    assert told(commands)[:4] == ["SpeechStopped", "Committed", "ItemAdded", "ItemDone"]
    assert one(tell.ResponseDone, commands).response.status is Status.FAILED


def test_a_lost_vad_ends_the_speech_and_the_next_one_gets_what_was_not_used() -> None:
    story = Story()
    story.starts_speaking(1)
    story.sends(96, used=False)
    commands = story.tell(ev.InputLost("vad: gone"))
    assert told(commands)[:5] == ["SpeechStopped", "Committed", "ItemAdded", "ItemDone", "ResponseCreated"]
    assert one(tell.ResponseDone, commands).response.error_message == "vad: gone"
    commands = story.tell(ev.InputFound())
    opened = one(do.OpenInput, commands)
    assert (opened.at_sample, opened.first_turn_id) == (1536, 2)
    assert sum(len(c.pcm) for c in of(do.SendAudio, commands)) == 96 * BYTES_PER_MS
    assert told(story.says(2, "hello"))[0] == "SpeechStarted"


def test_a_vad_that_is_lost_in_silence_is_replaced_without_a_word() -> None:
    story = Story()
    story.sends(320)
    assert story.tell(ev.InputLost("vad: gone")) == []
    assert [type(c) for c in story.tell(ev.InputFound())] == [do.OpenInput]


def test_a_commit_that_the_lost_vad_has_not_seen_is_told_to_the_next_one_in_its_place() -> None:
    story = Story(MANUAL)
    story.appends(320)
    story.tell(client.CommitInput())
    story.appends(320)
    story.tell(ev.InputLost("vad: gone"))
    commands = story.tell(ev.InputFound())
    kinds = [type(c) for c in commands]
    assert kinds[0] is do.OpenInput
    place = kinds.index(do.CommitAudio)
    assert one(do.CommitAudio, commands).at_sample == 5120
    assert all(c.at_sample < 5120 for c in of(do.SendAudio, commands[:place]))
    assert all(c.at_sample >= 5120 for c in of(do.SendAudio, commands[place:]))
    story.tell(ev.SpeechStarted(1, 0, 0), ev.SpeechStopped(1, 5120, 5120), ev.Transcript(1, "one", 320))
    story.responds()
    assert story.context() == ["user: one"]


def test_manual_audio_of_which_the_beginning_is_lost_with_a_vad_is_not_taken_for_understood() -> None:
    story = Story(SessionConfig(turn_detection=None, transcription=Transcription("any")))
    story.appends(320)
    story.tell(ev.SpeechStarted(1, 0, 0), ev.AudioConsumed(2560))
    story.tell(ev.InputLost("vad: gone"), ev.InputFound(), ev.SpeechStarted(2, 2560, 2560))
    commands = story.tell(client.CommitInput())
    assert one(tell.TranscriptionFailed, commands).message == "vad: gone"
    assert one(do.CancelTurn, commands).turn_id == 2


def test_a_client_is_not_read_while_the_vad_is_far_behind() -> None:
    story = Story()
    while story.session.wants_audio:
        story.appends(512)
    assert story.session._hearing._input.in_flight_ms <= IN_FLIGHT_MS + 512
    story.tell(ev.AudioConsumed(8192 * 2))
    assert story.session.wants_audio


IDLE = SessionConfig(turn_detection=TurnDetection(idle_timeout_ms=6000), transcription=Transcription("any"))


def test_an_idle_user_is_spoken_to_after_the_last_answer_was_played() -> None:
    story = Story(IDLE)
    story.says(1, "hello")
    item_id = one(tell.ResponseDone, story.answers("Good day.", 2000)).response.output[0].id
    assert told(story.sends(7968)) == []
    commands = story.sends(64)
    assert told(commands) == [
        *["TimeoutTriggered", "Committed", "ItemAdded", "ItemDone", "TranscriptionCompleted", "ResponseCreated"]
    ]
    triggered = one(tell.TimeoutTriggered, commands)
    assert triggered.audio_end_ms - triggered.audio_start_ms == 6000
    assert one(tell.Committed, commands).previous_item_id == item_id
    assert story.context()[-1] == f"user: {SILENCE}"
    story.answers("Are you there?", 400)
    assert told(story.sends(7000))[0] == "TimeoutTriggered"


@pytest.mark.parametrize("what", ["speech", "response", "commit"])
def test_whatever_happens_ends_the_waiting_for_an_idle_user(what: str) -> None:
    story = Story(IDLE)
    story.says(1, "hello")
    story.answers("Good day.", 400)
    story.sends(3008)
    match what:
        case "speech":
            story.starts_speaking(2)
        case "response":
            story.responds()
        case _:
            story.tell(client.CommitInput())
    assert "TimeoutTriggered" not in told(story.sends(4000))


def test_nobody_is_idle_before_the_first_answer() -> None:
    assert told(Story(IDLE).sends(20_000)) == []


def test_a_commit_at_the_end_of_the_audio_is_told_to_the_next_vad_last() -> None:
    story = Story(MANUAL)
    story.appends(320)
    story.tell(client.CommitInput(), ev.InputLost("vad: gone"))
    commands = story.tell(ev.InputFound())
    assert commands[-1] == do.CommitAudio(5120)


def test_audio_of_an_item_that_is_given_up_is_not_taken_for_the_next_one() -> None:
    story = Story(MANUAL)
    story.appends(320)
    story.tell(ev.SpeechStarted(1, 0, 0), client.CommitInput(), ev.InputLost("vad: gone"))
    commands = story.tell(ev.InputFound())
    assert one(do.ClearAudio, commands).at_sample == 5120
    assert one(do.CancelTurn, story.tell(ev.SpeechStarted(2, 0, 0))).turn_id == 2
    story.commits(3, "yes")
    story.responds()
    assert story.context() == ["user: yes"]


def test_a_vad_that_is_still_busy_is_waited_for_before_a_commit_is_taken_for_silence() -> None:
    story = Story(TRANSCRIBED)
    story.appends(2000)
    story.tell(client.CommitInput())
    story.wait(SETTINGS.settle_ms - 100)
    story.tell(ev.AudioConsumed(16_000))
    assert told(story.wait(SETTINGS.settle_ms - 100)) == []
    assert told(story.tell(ev.AudioConsumed(32_000))) == ["TranscriptionCompleted"]
