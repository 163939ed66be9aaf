"""What the user says: losses, time, the audio clock, idle users."""

from dataclasses import replace

import pytest

from gateway.core.input import BACK_MS, BYTES_PER_MS, IN_FLIGHT_MS
from gateway.core.realtime import client_events as client
from gateway.core.realtime import commands as do
from gateway.core.realtime import events as ev
from gateway.core.realtime import notices as tell
from gateway.core.realtime.config import SessionConfig, Transcription, TurnDetection
from gateway.core.realtime.hearing import SILENCE
from gateway.core.realtime.settings import RealtimeSettings
from gateway.core.response import Status
from tests.gateway.core.pauses import waits_but_for_a_pause
from tests.gateway.core.realtime.stories import CHUNK_MS, MANUAL, TRANSCRIBED, Story, of, one, told, user

SETTINGS = RealtimeSettings()
SPOKEN = ["SpeechStopped", "Committed", "ItemAdded", "ItemDone"]


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
    assert story.wait(SETTINGS.transcript_timeout_ms - 1) == []
    again = one(do.RecogniseAgain, story.wait(1))
    assert (again.turn_id, again.elsewhere) == (1, "asr: no transcript came in time")
    assert story.wait(SETTINGS.transcript_timeout_ms - 1) == []
    commands = story.wait(1)
    assert one(do.CancelTurn, commands).turn_id == 1
    assert told(commands) == ["TranscriptionFailed", "ResponseDone"]


def test_a_transcript_that_nobody_else_can_make_is_given_up() -> None:
    story = Story(TRANSCRIBED)
    story.starts_speaking(1)
    story.stops_speaking(1)
    story.wait(SETTINGS.transcript_timeout_ms)
    commands = story.tell(ev.TurnFailed(1, "asr: no transcript came in time"))
    assert told(commands) == ["TranscriptionFailed", "ResponseDone"]


@pytest.mark.parametrize("fails", [False, True])
def test_what_the_recogniser_says_of_a_turn_before_the_vad_has_said_that_it_began_counts(fails: bool) -> None:
    story = Story(TRANSCRIBED)
    early = ev.TurnFailed(1, "asr: broken") if fails else ev.Transcript(1, "hello", 500)
    assert story.tell(early) == []
    assert told(story.starts_speaking(1)) == ["SpeechStarted"]
    commands = story.stops_speaking(1)
    assert ("TranscriptionFailed" if fails else "TranscriptionCompleted") in told(commands)
    assert fails or story.context() == ["user: hello"]


# -- a recogniser that fails ------------------------------------------------------------------------------------------

GONE = ev.TurnFailed(1, "asr: gone", retryable=True)


@pytest.mark.parametrize("early", [True, False])
def test_a_turn_that_its_recogniser_could_not_do_is_sent_to_another_when_it_is_over(early: bool) -> None:
    story = Story(TRANSCRIBED)
    started = story.starts_speaking(1)
    commands = story.tell(GONE) if early else []
    assert commands == []
    commands = story.stops_speaking(1)
    commands += [] if early else story.tell(GONE)
    again = one(do.RecogniseAgain, commands)
    start_sample = one(tell.SpeechStarted, started).audio_start_ms * 16
    assert (again.turn_id, again.at_sample, again.elsewhere) == (1, start_sample, "")
    assert len(again.pcm) == (story.sent_samples - start_sample) * 2
    assert "TranscriptionFailed" not in told(commands)
    story.tell(ev.Transcript(1, "hello", 500))
    assert story.context() == ["user: hello"]


def test_a_turn_is_tried_twice_and_no_more_but_refusals_do_not_count() -> None:
    story = Story(TRANSCRIBED)
    story.starts_speaking(1)
    story.stops_speaking(1)
    story.ledger.refusals[1] = 5
    for _ in range(5):
        assert of(do.RecogniseAgain, story.tell(replace(GONE, refused=True)))
    assert of(do.RecogniseAgain, story.tell(GONE))
    assert told(story.tell(GONE)) == ["TranscriptionFailed", "ResponseDone"]


def test_a_turn_that_is_tried_again_has_all_the_time_again() -> None:
    story = Story(TRANSCRIBED)
    story.starts_speaking(1)
    story.stops_speaking(1)
    story.wait(SETTINGS.transcript_timeout_ms - 1)
    story.tell(GONE)
    assert story.wait(SETTINGS.transcript_timeout_ms - 1) == []
    assert told(story.wait(1)) == ["TranscriptionFailed", "ResponseDone"]


def test_a_committed_turn_is_sent_to_another_recogniser_when_the_vad_has_ended_it() -> None:
    story = Story(MANUAL)
    story.appends(320)
    story.tell(ev.SpeechStarted(1, 0, 0), client.CommitInput())
    assert story.tell(GONE) == []
    again = one(do.RecogniseAgain, story.tell(ev.SpeechStopped(1, 5120, 5120)))
    assert (again.at_sample, len(again.pcm)) == (0, 320 * BYTES_PER_MS)
    story.responds()
    story.tell(ev.Transcript(1, "hello", 320))
    assert story.context() == ["user: hello"]


def test_of_a_long_manual_turn_only_the_piece_that_failed_is_sent_again() -> None:
    story = Story(MANUAL)
    story.appends(320)
    story.tell(ev.SpeechStarted(1, 0, 0), ev.SpeechStopped(1, 3200, 3200), ev.SpeechStarted(2, 3200, 3200))
    again = one(do.RecogniseAgain, story.tell(GONE))
    assert (again.at_sample, len(again.pcm)) == (0, 6400)
    story.commits(3, None)
    story.tell(ev.Transcript(1, "one", 200))
    story.tell(ev.Transcript(2, "two", 120), ev.Transcript(3, "three", 120))
    story.responds()
    assert story.context() == ["user: one two three"]


def test_a_cleared_turn_is_not_sent_again() -> None:
    story = Story(MANUAL)
    story.appends(320)
    story.tell(ev.SpeechStarted(1, 0, 0), GONE, client.ClearInput())
    assert story.tell(ev.SpeechStopped(1, 5120, 5120), GONE) == []


def test_the_audio_of_turns_is_kept_only_until_they_have_their_text() -> None:
    story = Story()
    story.says(1, "hello")
    story.sends(60_000)
    kept = sum(len(block) for _, block in story.session._hearing._input._blocks)
    assert kept <= (BACK_MS + 500) * BYTES_PER_MS


# -- silence, and cuts ------------------------------------------------------------------------------------------------


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
    assert told(commands) == []
    assert one(do.OpenInput, story.tell(ev.InputFound())).in_turn
    assert told(story.stops_speaking(1))[:4] == SPOKEN


# -- a vad that is lost -----------------------------------------------------------------------------------------------


def test_a_turn_goes_on_at_another_vad_and_is_recognised_from_its_start() -> None:
    story = Story(TRANSCRIBED)
    start = one(tell.SpeechStarted, story.starts_speaking(1))
    story.sends(96, used=False)
    commands = story.tell(ev.InputLost("vad: gone"))
    assert commands == [do.CancelTurn(1)]
    commands = story.tell(ev.InputFound())
    assert commands[0] == do.OpenInput(1536, first_turn_id=1, in_turn=True)
    assert sum(len(c.pcm) for c in of(do.SendAudio, commands)) == 96 * BYTES_PER_MS
    commands = story.stops_speaking(1)
    assert told(commands) == [*SPOKEN, "ResponseCreated"]
    assert one(tell.Committed, commands).item_id == start.item_id
    again = one(do.RecogniseAgain, commands)
    assert (again.turn_id, again.at_sample, again.elsewhere) == (1, 0, "")
    assert len(again.pcm) == story.sent_samples * 2
    assert told(story.tell(ev.Transcript(1, "hello", 700))) == ["TranscriptionCompleted"]
    assert story.context() == ["user: hello"]
    assert told(story.answers("Good day."))[-1] == "ResponseDone"
    assert told(story.says(2, "and now?"))[0] == "SpeechStarted"


def test_a_vad_that_takes_over_at_once_is_not_told_to_the_client() -> None:
    story = Story()
    story.starts_speaking(1)
    commands = story.tell(ev.InputFound())
    assert commands == [do.CancelTurn(1), do.OpenInput(1536, first_turn_id=1, in_turn=True)]


def test_the_client_is_heard_while_there_is_no_vad_and_the_next_one_gets_it() -> None:
    story = Story()
    story.starts_speaking(1)
    story.tell(ev.InputLost("vad: gone"))
    assert told(story.sends(512, used=False)) == []
    commands = story.tell(ev.InputFound())
    assert sum(len(c.pcm) for c in of(do.SendAudio, commands)) == 512 * BYTES_PER_MS


def test_what_the_recogniser_of_a_lost_vad_says_meanwhile_does_not_count() -> None:
    story = Story()
    story.starts_speaking(1)
    story.tell(ev.InputLost("vad: gone"))
    assert story.tell(GONE, GONE, GONE) == []
    story.tell(ev.InputFound())
    assert of(do.RecogniseAgain, story.stops_speaking(1))
    assert of(do.RecogniseAgain, story.tell(GONE))  # the first that had all of it


def test_speech_that_lost_its_vad_twice_ends_and_its_answer_fails() -> None:
    story = Story(TRANSCRIBED)
    story.starts_speaking(1)
    story.tell(ev.InputFound())
    commands = story.tell(ev.InputLost("vad: gone"))
    assert told(commands) == [*SPOKEN, "ResponseCreated", "TranscriptionFailed", "ResponseDone"]
    assert one(tell.ResponseDone, commands).response.error_message == "vad: gone"
    assert one(do.CancelTurn, commands).turn_id == 1
    assert one(do.OpenInput, story.tell(ev.InputFound())) == do.OpenInput(1536, first_turn_id=2)
    story.says(2, "hello")
    assert story.context() == ["user: hello"]


def test_speech_whose_vad_does_not_come_back_in_time_ends_and_its_answer_fails() -> None:
    story = Story()
    story.starts_speaking(1)
    story.tell(ev.InputLost("vad: gone"))
    assert told(story.wait(SETTINGS.transcript_timeout_ms - 1)) == []
    commands = story.wait(1)
    assert told(commands) == [*SPOKEN, "ResponseCreated", "ResponseDone"]
    assert one(tell.ResponseDone, commands).response.error_message == "vad: none was there in time"
    assert story.session.next_tick_ms() is None
    assert one(do.OpenInput, story.tell(ev.InputFound())).first_turn_id == 2


def test_a_late_end_of_a_turn_whose_vad_was_left_is_its_end() -> None:
    story = Story()
    story.starts_speaking(1)
    story.tell(ev.InputLost("vad: nothing came in time"))
    commands = story.tell(ev.SpeechStopped(1, 1536, 1536))
    assert told(commands) == [*SPOKEN, "ResponseCreated"]
    assert of(do.RecogniseAgain, commands)
    story.wait(SETTINGS.transcript_timeout_ms - 1)
    story.tell(replace(GONE, refused=True))  # and all the time again
    assert story.wait(SETTINGS.transcript_timeout_ms - 1) == []
    assert not one(do.OpenInput, story.tell(ev.InputFound())).in_turn
    story.tell(ev.Transcript(1, "hello", 96))
    assert story.context() == ["user: hello"]


def test_a_vad_lost_while_its_turn_is_transcribed_does_not_cost_the_turn() -> None:
    story = Story()
    story.starts_speaking(1)
    story.stops_speaking(1)
    assert story.tell(ev.InputLost("vad: gone")) == []
    assert of(do.Respond, story.tell(ev.Transcript(1, "hello", 500)))


def test_a_turn_whose_text_was_there_before_its_vad_was_lost_is_answered() -> None:
    story = Story()
    story.starts_speaking(1)
    story.tell(ev.Transcript(1, "hello", 500))
    commands = story.tell(ev.InputLost("vad: gone"))
    assert told(commands) == [*SPOKEN, "ResponseCreated"]
    assert story.context() == ["user: hello"]


def test_a_vad_that_is_lost_in_silence_is_replaced_without_a_word() -> None:
    """The next one hears a little again: the last may have been about to hear a turn begin."""
    story = Story()
    story.sends(5120)
    assert story.tell(ev.InputLost("vad: gone")) == []
    commands = story.tell(ev.InputFound())
    assert commands[0] == do.OpenInput((5120 - BACK_MS) * 16, first_turn_id=1)
    assert sum(len(c.pcm) for c in of(do.SendAudio, commands)) == BACK_MS * BYTES_PER_MS
    assert {type(c) for c in commands[1:]} == {do.SendAudio}


@pytest.mark.parametrize("what", ["a turn", "a clear", "a commit"])
def test_what_belongs_to_what_is_over_is_not_heard_again(what: str) -> None:
    story = Story()
    match what:
        case "a turn":
            story.says(1, "hello")
        case "a clear":
            story.sends(512)
            story.tell(client.ClearInput())
        case _:
            story.sends(512)
            story.tell(client.CommitInput())
    over_at = story.sent_samples
    story.sends(256)
    opened = one(do.OpenInput, story.tell(ev.InputFound()))
    assert opened.at_sample == over_at


def test_without_detection_nothing_is_heard_again() -> None:
    story = Story(MANUAL)
    story.sends(1024)
    assert story.tell(ev.InputLost("vad: gone"), ev.InputFound()) == [do.OpenInput(1024 * 16, first_turn_id=1)]


# -- a vad that is lost, and commits ----------------------------------------------------------------------------------


def test_a_manual_turn_goes_on_at_another_vad_until_it_is_committed() -> None:
    story = Story(SessionConfig(turn_detection=None, transcription=Transcription("any")))
    story.appends(320)
    story.tell(ev.SpeechStarted(1, 0, 0), ev.AudioConsumed(2560))
    assert story.tell(ev.InputLost("vad: gone")) == [do.CancelTurn(1)]
    commands = story.tell(ev.InputFound())
    assert commands[0] == do.OpenInput(2560, first_turn_id=1, in_turn=True)
    assert told(story.tell(client.CommitInput())) == ["Committed", "ItemAdded", "ItemDone"]
    again = one(do.RecogniseAgain, story.tell(ev.SpeechStopped(1, 5120, 5120)))
    assert (again.turn_id, again.at_sample, len(again.pcm)) == (1, 0, 320 * BYTES_PER_MS)
    commands = story.tell(ev.Transcript(1, "hello", 320))
    assert one(tell.TranscriptionCompleted, commands).transcript == "hello"


def test_a_manual_turn_that_lost_its_vad_twice_fails_at_its_commit() -> None:
    story = Story(SessionConfig(turn_detection=None, transcription=Transcription("any")))
    story.appends(320)
    story.tell(ev.SpeechStarted(1, 0, 0), ev.AudioConsumed(2560), ev.InputFound())
    assert story.tell(ev.InputLost("vad: gone")) == [do.CancelTurn(1)]
    story.tell(ev.InputFound(), ev.SpeechStarted(2, 2560, 2560))
    commands = story.tell(client.CommitInput())
    assert one(tell.TranscriptionFailed, commands).message == "vad: gone"
    assert one(do.CancelTurn, commands).turn_id == 2


def test_a_committed_turn_that_the_vad_has_not_ended_is_ended_by_the_next_one() -> None:
    story = Story(MANUAL)
    story.appends(320)
    story.tell(ev.SpeechStarted(1, 0, 0), ev.AudioConsumed(2560), client.CommitInput())
    assert story.tell(ev.InputLost("vad: gone")) == [do.CancelTurn(1)]
    story.wait(SETTINGS.settle_ms * 3)  # nobody is there to say that there was speech
    commands = story.tell(ev.InputFound())
    assert commands[0] == do.OpenInput(2560, first_turn_id=1, in_turn=True)
    assert commands[-1] == do.CommitAudio(5120)
    assert one(do.RecogniseAgain, story.tell(ev.SpeechStopped(1, 5120, 5120))).at_sample == 0
    story.responds()
    story.tell(ev.Transcript(1, "hello", 320))
    assert story.context() == ["user: hello"]


@pytest.mark.parametrize("config", [MANUAL, SessionConfig()], ids=["manual", "detection"])
def test_a_committed_turn_that_the_lost_vad_has_heard_to_its_end_needs_no_other_vad(config: SessionConfig) -> None:
    story = Story(config)
    story.sends(320)
    story.tell(ev.SpeechStarted(1, 0, 0), client.CommitInput())
    end = story.sent_samples
    story.appends(320)
    again = one(do.RecogniseAgain, story.tell(ev.InputLost("vad: gone")))
    assert (again.turn_id, again.at_sample, len(again.pcm)) == (1, 0, end * 2)
    assert one(do.OpenInput, story.tell(ev.InputFound())) == do.OpenInput(end, first_turn_id=2)
    story.tell(ev.Transcript(1, "hello", 96))
    story.responds()
    assert story.context() == ["user: hello"]


@pytest.mark.parametrize("config", [MANUAL, SessionConfig()], ids=["manual", "detection"])
def test_a_commit_of_which_a_vad_that_is_lost_has_said_nothing_is_not_taken_for_silence(config: SessionConfig) -> None:
    story = Story(config)
    story.appends(320)
    story.tell(client.CommitInput(), ev.InputLost("vad: gone"))
    assert told(story.responds()) == ["ResponseCreated"]
    assert story.wait(SETTINGS.settle_ms * 3) == []
    assert story.tell(ev.InputFound())[-1] == do.CommitAudio(5120)
    story.tell(ev.SpeechStarted(1, 0, 0), ev.SpeechStopped(1, 5120, 5120), ev.Transcript(1, "one", 320))
    assert story.context() == ["user: one"]


def test_a_commit_of_which_the_next_vad_says_nothing_either_is_silence() -> None:
    story = Story(SessionConfig(turn_detection=None, transcription=Transcription("any")))
    story.appends(320)
    story.tell(ev.SpeechStarted(1, 0, 0), ev.SpeechStopped(1, 1, 1), ev.Transcript(1, "", 1), client.CommitInput())
    story.tell(ev.InputLost("vad: gone"), ev.InputFound())
    assert told(story.wait(SETTINGS.settle_ms)) == ["TranscriptionCompleted"]


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
    story.tell(ev.SpeechStarted(1, 0, 0), client.CommitInput(), ev.InputFound(), ev.InputLost("vad: gone"))
    commands = story.tell(ev.InputFound())
    assert one(do.OpenInput, commands).first_turn_id == 2
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


# -- audio that may wait --------------------------------------------------------------------------------------------


def test_audio_may_wait_but_where_a_turn_may_end_or_an_answer_be_interrupted() -> None:
    story = Story()
    assert waits_but_for_a_pause(story)
    story.stops_speaking(1)
    assert not story.session.patient  # the answer that is to come may be interrupted
    story.tell(ev.Transcript(1, "hello", 1000))
    story.answers("Good day.", 320)
    story.sends(288)
    assert not story.session.patient  # the client still plays what it has
    story.sends(64)
    assert story.session.patient


def test_in_a_pause_nothing_is_held_back_for_a_window() -> None:
    story = Story()
    story.starts_speaking(1)
    assert of(do.SendAudio, story.appends(20)) == []  # less than a window
    story.tell(ev.SpeechPaused(1))
    assert len(one(do.SendAudio, story.appends(20)).pcm) == 40 * BYTES_PER_MS


def test_what_a_model_hears_at_a_pause_does_not_wait() -> None:
    story = Story()
    story.detects(type="semantic_vad")
    story.starts_speaking(1)
    assert not story.session.patient


def test_without_detection_no_audio_waits() -> None:
    """An append that has no room is told by its own id."""
    assert not Story(MANUAL).session.patient
