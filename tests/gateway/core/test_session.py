"""Conversations told step by step: what a client and its services do, and what the session makes of it."""

import pytest

from gateway.core import commands as do
from gateway.core import events as ev
from gateway.core.input import BACK_MS, BYTES_PER_MS, IN_FLIGHT_MS
from gateway.core.response import Status
from gateway.core.session import AHEAD_MS, NOT_READING_MS, SessionSettings
from gateway.core.turn import EARLY_TURNS, TurnState
from tests.gateway.core.pauses import waits_but_for_a_pause
from tests.gateway.core.stories import CHUNK_MS, Story, kinds, of, one

SETTINGS = SessionSettings()


# -- turns and answers ------------------------------------------------------------------------------------------------


def test_a_turn_is_heard_understood_answered_and_played() -> None:
    story = Story()
    commands = story.says(1, "what time is it")
    assert kinds(commands) == [
        do.SpeechStartedNotice,
        do.SpeechStoppedNotice,
        do.TranscriptNotice,
        do.ResponseStartedNotice,
        do.Respond,
    ]
    request = one(do.Respond, commands)
    assert [message.text for message in request.messages] == ["what time is it"]
    assert (request.turn_id, request.revision, request.generation) == (1, 0, 0)
    commands = story.answers("r1", "It is noon.", 500)
    assert story.played_ms() == SETTINGS.lead_ms
    assert not of(do.ResponseDoneNotice, commands)
    commands = story.wait(1000)
    assert story.played_ms() == 500
    assert kinds(commands)[-3:] == [do.EndResponse, do.PlayEnded, do.ResponseDoneNotice]
    done = one(do.ResponseDoneNotice, commands)
    assert (done.status, done.text, done.audio_ms) == (Status.COMPLETED, "It is noon.", 500)
    assert one(do.PlayEnded, commands).stopped is False
    assert story.session.idle
    assert story.remembered() == ["user: what time is it", "assistant: It is noon."]


def test_the_second_answer_is_asked_for_with_all_that_was_said() -> None:
    story = Story()
    story.says(1, "hello")
    story.answers("r1", "Good day.", 300)
    story.wait(2000)
    request = one(do.Respond, story.says(2, "what time is it"))
    assert request.response_id == "r2"
    assert [(m.author, m.text) for m in request.messages] == [
        ("user", "hello"),
        ("assistant", "Good day."),
        ("user", "what time is it"),
    ]


def test_audio_is_cut_at_windows_and_sent_on_with_positions() -> None:
    story = Story()
    commands = story.tell(ev.AudioReceived(bytes(1000)), ev.AudioReceived(bytes(1100)))
    assert [(c.at_sample, len(c.pcm)) for c in of(do.SendAudio, commands)] == [(0, 2048)]


def test_partial_transcripts_are_passed_on_until_the_text_is_final() -> None:
    story = Story()
    story.starts_speaking(1)
    assert one(do.PartialTranscriptNotice, story.tell(ev.PartialTranscript(1, "what"))).text == "what"
    story.stops_speaking(1)
    story.starts_speaking(2)
    story.tell(ev.Transcript(1, "what time", 900))
    assert story.tell(ev.PartialTranscript(1, "what tim")) == []
    assert story.tell(ev.PartialTranscript(3, "who")) == []


def test_an_answer_of_which_no_audio_comes_is_complete_when_both_services_say_so() -> None:
    story = Story()
    story.says(1, "hello")
    story.tell(ev.SynthesisDone("r1"))
    commands = story.tell(ev.GenerationDone("r1", complete=True))
    assert one(do.ResponseDoneNotice, commands).status is Status.COMPLETED


def test_an_answer_that_was_cut_off_is_incomplete() -> None:
    story = Story()
    story.says(1, "tell me a story")
    story.tell(ev.TextDelta("r1", "Once upon"), ev.GenerationDone("r1", complete=False))
    story.speech("r1", 100, "Once upon")
    commands = story.tell(ev.SynthesisDone("r1"))
    assert one(do.ResponseDoneNotice, commands).status is Status.INCOMPLETE
    assert story.remembered()[-1] == "assistant: Once upon"


def test_the_settings_reach_the_request() -> None:
    story = Story(SessionSettings(instructions="Be brief."))
    assert one(do.Respond, story.says(1, "hello")).instructions == "Be brief."


# -- barge-in ---------------------------------------------------------------------------------------------------------


def speaking_over(story: Story) -> list[do.Command]:
    """Have the user speak over an answer of two seconds when 1312 ms of it have been played."""
    story.says(1, "tell me a story")
    story.answers("r1", "Once upon a time there was a king", 2000)
    story.sends(1200)
    return story.starts_speaking(2)


def test_barge_in_is_announced_stops_the_services_and_ends_the_response_in_this_order() -> None:
    story = Story()
    commands = speaking_over(story)
    assert kinds(commands) == [
        do.SpeechStartedNotice,
        do.InterruptNotice,
        do.CancelResponse,
        do.PlayEnded,
        do.ResponseDoneNotice,
    ]
    assert one(do.CancelResponse, commands).generation == 1
    assert one(do.PlayEnded, commands).stopped is True
    assert one(do.ResponseDoneNotice, commands).status is Status.CANCELLED


def test_after_barge_in_only_what_was_heard_is_remembered() -> None:
    story = Story()
    commands = speaking_over(story)
    assert one(do.InterruptNotice, commands).heard_ms == 1312
    assert story.remembered() == ["user: tell me a story", "assistant: Once upon a time"]
    assert one(do.ResponseDoneNotice, commands).text == "Once upon a time"


def test_late_frames_of_a_cancelled_response_are_dropped() -> None:
    story = Story()
    speaking_over(story)
    assert story.speech("r1", 200, "late") == []
    assert story.tell(ev.TextDelta("r1", "late"), ev.GenerationDone("r1", complete=True)) == []
    assert story.tell(ev.SynthesisDone("r1"), ev.ResponseFailed("r1", ev.Role.TTS, "cancelled")) == []


def test_after_barge_in_the_next_answer_carries_the_new_generation() -> None:
    story = Story()
    speaking_over(story)
    story.sends(256)
    story.stops_speaking(2)
    request = one(do.Respond, story.tell(ev.Transcript(2, "stop it", 500)))
    assert (request.response_id, request.generation, request.revision) == ("r2", 1, 0)
    assert [m.text for m in request.messages] == ["tell me a story", "Once upon a time", "stop it"]


def test_an_answer_interrupted_before_any_of_it_was_heard_leaves_nothing() -> None:
    story = Story(SessionSettings(reopen_ms=0))
    story.says(1, "hello")
    story.tell(ev.TextDelta("r1", "Good day."))
    assert one(do.ResponseDoneNotice, story.starts_speaking(2)).text == ""
    assert story.remembered() == ["user: hello"]


# -- speech that goes on ----------------------------------------------------------------------------------------------


def test_a_speaker_who_goes_on_soon_continues_the_message() -> None:
    story = Story()
    story.says(1, "what is")
    story.speech("r1", 300, "What")
    commands = story.starts_speaking(2)
    assert kinds(commands)[:3] == [do.SpeechStartedNotice, do.InterruptNotice, do.CancelResponse]
    assert story.remembered() == []
    story.stops_speaking(2)
    commands = story.tell(ev.Transcript(2, "the time", 500))
    assert one(do.TranscriptNotice, commands).reopened
    request = one(do.Respond, commands)
    assert [m.text for m in request.messages] == ["what is the time"]
    assert request.revision == 1


def test_a_speaker_who_goes_on_later_begins_a_new_message() -> None:
    story = Story()
    story.says(1, "what is")
    story.sends(SETTINGS.reopen_ms)
    story.starts_speaking(2)
    story.stops_speaking(2)
    commands = story.tell(ev.Transcript(2, "never mind", 500))
    assert not one(do.TranscriptNotice, commands).reopened
    assert [m.text for m in one(do.Respond, commands).messages] == ["what is", "never mind"]


def test_the_time_in_which_a_turn_is_continued_is_that_of_the_audio_clock() -> None:
    story = Story()
    story.says(1, "what is")
    story.wait(SETTINGS.reopen_ms * 3)  # the client's line is slow; the speaker is not
    story.starts_speaking(2)
    story.stops_speaking(2)
    assert one(do.TranscriptNotice, story.tell(ev.Transcript(2, "the time", 500))).reopened


def test_a_message_goes_on_while_its_first_half_is_being_transcribed() -> None:
    story = Story()
    story.starts_speaking(1)
    story.stops_speaking(1)
    story.starts_speaking(2)
    assert not of(do.Respond, story.tell(ev.Transcript(1, "what is", 500)))
    story.stops_speaking(2)
    commands = story.tell(ev.Transcript(2, "the time", 500))
    assert [m.text for m in one(do.Respond, commands).messages] == ["what is the time"]


def test_texts_are_joined_in_the_order_of_the_speech_not_of_their_arrival() -> None:
    story = Story()
    for turn_id in (1, 2):
        story.starts_speaking(turn_id)
        story.stops_speaking(turn_id)
    story.tell(ev.Transcript(2, "the time", 500))
    commands = story.tell(ev.Transcript(1, "what is", 500))
    assert [m.text for m in one(do.Respond, commands).messages] == ["what is the time"]


def test_a_continuation_of_which_nothing_is_understood_still_gets_its_answer() -> None:
    story = Story()
    story.says(1, "what is the time")
    story.starts_speaking(2)
    story.stops_speaking(2)
    commands = story.tell(ev.Transcript(2, "", 200))
    assert [m.text for m in one(do.Respond, commands).messages] == ["what is the time"]


# -- order and loss of frames -----------------------------------------------------------------------------------------


def test_a_transcript_may_come_before_the_end_of_its_turn() -> None:
    story = Story()
    story.starts_speaking(1)
    assert kinds(story.tell(ev.Transcript(1, "hello", 500))) == [do.TranscriptNotice]
    commands = story.stops_speaking(1)
    assert [kind for kind in kinds(commands) if kind is not do.SendAudio][:1] == [do.SpeechStoppedNotice]
    assert [m.text for m in one(do.Respond, commands).messages] == ["hello"]


def test_the_end_of_a_turn_may_be_known_before_its_start() -> None:
    story = Story()
    story.sends(96)
    assert story.tell(ev.Transcript(1, "hello", 500), ev.Transcript(1, "again", 500)) == []
    assert kinds(story.starts_speaking(1)) == [do.SpeechStartedNotice, do.TranscriptNotice]
    assert [m.text for m in one(do.Respond, story.stops_speaking(1)).messages] == ["hello"]


def test_a_refusal_may_be_known_before_the_start_of_its_turn() -> None:
    story = Story()
    story.tell(ev.TurnFailed(1, "asr: at capacity"))
    assert kinds(story.starts_speaking(1)) == [do.SpeechStartedNotice, do.TurnFailedNotice]


def test_ends_of_turns_that_never_begin_are_not_kept_for_ever() -> None:
    story = Story()
    for turn_id in range(2, 100):
        story.tell(ev.Transcript(turn_id, "hello", 500))
    assert len(story.session._turns._early) == EARLY_TURNS
    story.starts_speaking(50)
    assert story.session._turns._early == {}


def test_a_lost_stop_is_made_up_for_when_the_next_turn_begins() -> None:
    story = Story()
    story.starts_speaking(1)
    commands = story.starts_speaking(2)
    assert kinds(commands) == [do.SpeechStoppedNotice, do.SpeechStartedNotice]
    assert (one(do.SpeechStoppedNotice, commands).turn_id, one(do.SpeechStartedNotice, commands).turn_id) == (1, 2)


def test_a_turn_whose_stop_was_lost_is_given_up_if_its_text_does_not_come() -> None:
    story = Story()
    story.starts_speaking(1)
    story.starts_speaking(2)
    story.tell(ev.InputLost("gone"))
    commands = story.wait(3 * SETTINGS.transcript_timeout_ms)
    assert sorted(notice.turn_id for notice in of(do.TurnFailedNotice, commands)) == [1, 2]
    assert story.session._turns.state is TurnState.LISTENING


def test_a_turn_that_goes_on_after_its_stop_was_lost_says_so() -> None:
    story = Story()
    story.starts_speaking(1)
    story.tell(ev.Transcript(1, "what is", 500))
    story.starts_speaking(2)
    story.stops_speaking(2)
    commands = story.tell(ev.Transcript(2, "the time", 500))
    assert one(do.TranscriptNotice, commands).reopened
    assert [m.text for m in one(do.Respond, commands).messages] == ["what is the time"]


def test_what_comes_twice_has_no_effect() -> None:
    story = Story()
    started = one(do.SpeechStartedNotice, story.starts_speaking(1))
    assert story.tell(ev.SpeechStarted(started.turn_id, 0, 0)) == []
    story.stops_speaking(1)
    assert story.tell(ev.SpeechStopped(1, 0, 0)) == []
    story.tell(ev.Transcript(1, "hello", 500))
    assert story.tell(ev.Transcript(1, "hello", 500), ev.TurnFailed(1, "late")) == []
    story.tell(ev.GenerationDone("r1", complete=True))
    story.speech("r1", 100, "Hi")
    story.tell(ev.SynthesisDone("r1"))
    assert story.tell(ev.SynthesisDone("r1"), ev.GenerationDone("r1", complete=True)) == []


def test_speech_after_its_end_is_dropped() -> None:
    story = Story()
    story.says(1, "hello")
    story.speech("r1", 100, "Hi")
    story.tell(ev.SynthesisDone("r1"))
    assert story.speech("r1", 100, "again") == []


def test_frames_of_turns_and_responses_that_never_were_are_dropped() -> None:
    story = Story()
    assert story.tell(ev.SpeechStopped(7, 0, 0), ev.Transcript(7, "x", 1), ev.TurnFailed(7, "x")) == []
    assert story.tell(ev.TextDelta("r9", "x"), ev.ResponseFailed("r9", ev.Role.LLM, "x")) == []


# -- nothing understood, and what fails -------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_empty_transcript_starts_no_answer(text: str) -> None:
    story = Story()
    commands = story.says(1, text)
    assert len(of(do.TranscriptNotice, commands)) == 1
    assert not of(do.Respond, commands)
    assert story.session.idle
    assert story.remembered() == []


def test_a_failed_recognition_is_told_and_starts_no_answer() -> None:
    story = Story()
    story.starts_speaking(1)
    story.stops_speaking(1)
    commands = story.tell(ev.TurnFailed(1, "asr: broken"))
    assert kinds(commands) == [do.TurnFailedNotice]
    assert story.session.idle
    assert of(do.Respond, story.says(2, "hello"))


def test_a_recogniser_that_dies_in_mid_speech_fails_the_turn_and_its_pair_is_kept() -> None:
    story = Story()
    story.starts_speaking(1)
    assert kinds(story.tell(ev.TurnFailed(1, "asr: gone"))) == [do.TurnFailedNotice]
    assert kinds(story.stops_speaking(1)) == [do.SpeechStoppedNotice]
    assert story.session.idle


def test_a_failed_half_of_a_message_does_not_take_the_other_along() -> None:
    story = Story()
    story.starts_speaking(1)
    story.stops_speaking(1)
    story.starts_speaking(2)
    story.stops_speaking(2)
    story.tell(ev.TurnFailed(2, "asr: broken"))
    commands = story.tell(ev.Transcript(1, "what is", 500))
    assert [m.text for m in one(do.Respond, commands).messages] == ["what is"]


@pytest.mark.parametrize("role", [ev.Role.LLM, ev.Role.TTS])
def test_an_answer_that_fails_ends_as_failed_and_what_was_heard_stays(role: ev.Role) -> None:
    story = Story()
    story.says(1, "hello")
    story.tell(ev.TextDelta("r1", "Good day to you."))
    story.speech("r1", 400, "Good day to you.")
    story.sends(256)
    commands = story.tell(ev.ResponseFailed("r1", role, "broken"))
    done = one(do.ResponseDoneNotice, commands)
    assert (done.status, done.message) == (Status.FAILED, f"{role.value}: broken")
    assert one(do.PlayEnded, commands).stopped
    assert story.remembered() == ["user: hello", "assistant: Good day"]
    assert of(do.Respond, story.says(2, "again"))


def test_an_answer_whose_text_is_complete_outlives_its_llm() -> None:
    story = Story()
    story.says(1, "hello")
    story.tell(ev.TextDelta("r1", "Hi."), ev.GenerationDone("r1", complete=True))
    assert story.tell(ev.ResponseFailed("r1", ev.Role.LLM, "gone")) == []
    story.speech("r1", 300, "Hi.")
    story.tell(ev.SynthesisDone("r1"))
    assert story.tell(ev.ResponseFailed("r1", ev.Role.TTS, "gone")) == []
    assert one(do.ResponseDoneNotice, story.wait(1000)).status is Status.COMPLETED


def test_a_tts_that_ignores_its_grants_is_stopped() -> None:
    story = Story()
    story.says(1, "hello")
    commands = [command for _ in range(12) for command in story.speech("r1", 1000)]
    done = one(do.ResponseDoneNotice, commands)
    assert (done.status, done.message) == (Status.FAILED, "tts: sent more than it was granted")


# -- time-outs --------------------------------------------------------------------------------------------------------


def test_a_transcript_that_does_not_come_is_given_up_and_cancelled() -> None:
    story = Story()
    story.starts_speaking(1)
    story.stops_speaking(1)
    assert story.wait(SETTINGS.transcript_timeout_ms - 1) == []
    again = one(do.RecogniseAgain, story.wait(1))
    assert again.elsewhere == "asr: no transcript came in time"
    commands = story.wait(SETTINGS.transcript_timeout_ms)
    assert kinds(commands) == [do.CancelTurn, do.TurnFailedNotice]
    assert story.session.idle


def test_a_transcript_that_is_overdue_fails_its_turn_but_not_the_open_one() -> None:
    story = Story()
    story.starts_speaking(1)
    story.stops_speaking(1)
    story.starts_speaking(2)
    commands = story.sends(2 * SETTINGS.transcript_timeout_ms + 100)
    assert [again.turn_id for again in of(do.RecogniseAgain, commands)] == [1]
    assert [notice.turn_id for notice in of(do.TurnFailedNotice, commands)] == [1]
    story.stops_speaking(2)
    assert of(do.Respond, story.tell(ev.Transcript(2, "hello", 500)))


def test_a_text_that_does_not_come_fails_the_answer() -> None:
    story = Story()
    story.says(1, "hello")
    story.wait(SETTINGS.text_timeout_ms - 1)
    story.tell(ev.TextDelta("r1", "Good"))
    assert story.wait(SETTINGS.text_timeout_ms - 1) == []
    again = one(do.AskAgain, story.wait(1))
    assert (again.role, again.elsewhere) == (ev.Role.LLM, "nothing came in time")
    done = one(do.ResponseDoneNotice, story.wait(SETTINGS.text_timeout_ms))
    assert (done.status, done.message) == (Status.FAILED, "llm: nothing came in time")


def test_speech_that_does_not_come_fails_the_answer() -> None:
    story = Story()
    story.says(1, "hello")
    story.tell(ev.TextDelta("r1", "Hi"), ev.GenerationDone("r1", complete=True))
    story.wait(SETTINGS.speech_timeout_ms - 1)
    story.speech("r1", 40)
    done = one(do.ResponseDoneNotice, story.wait(SETTINGS.speech_timeout_ms))
    assert (done.status, done.message) == (Status.FAILED, "tts: nothing came in time")


def test_a_tts_that_waits_for_its_grant_is_not_overdue() -> None:
    story = Story()
    story.says(1, "read to me")
    story.tell(ev.GenerationDone("r1", complete=True))
    sent_ms = 0
    for _ in range(60):
        while sent_ms + 500 <= max([AHEAD_MS, *(c.until_ms for c in of(do.Grant, story.ledger.commands))]):
            story.speech("r1", 500)
            sent_ms += 500
        story.wait(1000)
    assert story.session.response is not None
    assert story.played_ms() == pytest.approx(60_000 + SETTINGS.lead_ms, abs=20)


def test_grants_keep_ahead_of_what_was_handed_over() -> None:
    story = Story()
    story.says(1, "read to me")
    story.speech("r1", AHEAD_MS)
    commands = story.wait(3000)
    grants = of(do.Grant, commands)
    assert len(grants) == 1
    assert 2500 + AHEAD_MS <= grants[0].until_ms <= 2600 + AHEAD_MS


# -- a client that stops sending --------------------------------------------------------------------------------------


def test_a_client_that_stops_in_mid_speech_is_taken_to_be_silent() -> None:
    story = Story()
    story.starts_speaking(1)
    commands = story.wait(SETTINGS.starvation_ms + 40)
    silence = b"".join(c.pcm for c in of(do.SendAudio, commands))
    assert len(silence) > SETTINGS.silence_duration_ms * BYTES_PER_MS
    assert not any(silence)
    story.tell(ev.SpeechStopped(1, story.sent_samples - 8000, story.sent_samples))
    assert of(do.Respond, story.tell(ev.Transcript(1, "hello", 500)))


def test_a_client_that_is_silent_between_turns_is_left_alone() -> None:
    story = Story()
    story.sends(1000)
    assert story.session.next_tick_ms() is None
    assert story.wait(60_000) == []


def test_a_client_that_sends_whole_seconds_is_not_taken_to_be_silent_in_between() -> None:
    story = Story()
    story.starts_speaking(1)
    for _ in range(5):
        story.tell(ev.AudioReceived(b"\1\0" * (1000 * BYTES_PER_MS // 2)), ev.AudioConsumed(2**40))
        assert not of(do.SendAudio, story.wait(1000))


def test_a_client_that_was_not_read_is_not_taken_to_be_silent() -> None:
    story = Story()
    story.starts_speaking(1)
    story.tell(ev.AudioReceived(b"\1\0" * (IN_FLIGHT_MS * BYTES_PER_MS // 2 + 1024)))
    assert not story.session.wants_audio
    assert story.wait(SETTINGS.vad_timeout_ms - 1000) == []
    story.tell(ev.AudioConsumed(story.sent_samples))
    assert story.session.wants_audio
    assert story.wait(SETTINGS.starvation_ms - 1) == []


def test_silence_is_never_more_than_the_vad_may_hold() -> None:
    story = Story(SessionSettings(silence_duration_ms=10_000))
    story.starts_speaking(1)
    used = story.sent_samples
    story.wait(3000)
    assert IN_FLIGHT_MS - CHUNK_MS < (story.sent_samples - used) / 16 <= IN_FLIGHT_MS + CHUNK_MS


# -- half duplex ------------------------------------------------------------------------------------------------------


def test_half_duplex_hears_silence_while_the_answer_is_audible() -> None:
    story = Story(SessionSettings(half_duplex=True))
    story.says(1, "hello")
    story.answers("r1", "Good day.", 320)
    during = b"".join(c.pcm for c in of(do.SendAudio, story.sends(288)))
    assert during
    assert not any(during)
    story.sends(64)
    after = b"".join(c.pcm for c in of(do.SendAudio, story.sends(96)))
    assert any(after)


# -- audio that may wait --------------------------------------------------------------------------------------------


def test_audio_may_wait_but_where_a_turn_may_end_or_an_answer_be_interrupted() -> None:
    story = Story()
    assert waits_but_for_a_pause(story)
    story.stops_speaking(1)
    assert not story.session.patient  # the user may go on, which takes the answer back
    story.tell(ev.Transcript(1, "hello", 1000))
    assert not story.session.patient
    story.answers("r1", "Good day.", 320)
    story.wait(250)
    assert story.session.response is None
    assert not story.session.patient  # the client still plays
    story.wait(100)
    story.sends(32)
    assert story.session.patient


def test_in_a_pause_nothing_is_held_back_for_a_window() -> None:
    story = Story()
    story.starts_speaking(1)
    audio = ev.AudioReceived(b"\1\0" * 320)
    assert of(do.SendAudio, story.tell(audio)) == []  # less than a window
    story.tell(ev.SpeechPaused(1))
    assert len(one(do.SendAudio, story.tell(audio)).pcm) == 2 * 640


def test_in_speech_that_a_short_silence_ends_no_audio_waits() -> None:
    story = Story(SessionSettings(silence_duration_ms=200))
    story.starts_speaking(1)
    assert not story.session.patient


# -- a client that does not read --------------------------------------------------------------------------------------


def test_nothing_is_played_to_a_client_that_does_not_take_it() -> None:
    story = Story()
    story.says(1, "hello")
    story.answers("r1", "Good day.", 2000)
    story.tell(ev.Backlog(1500))
    assert story.wait(5000) == []
    story.tell(ev.Backlog(0))
    assert of(do.Play, story.wait(0))
    assert one(do.ResponseDoneNotice, story.wait(5000)).status is Status.COMPLETED


def test_a_client_that_never_reads_is_disconnected_and_nobody_else_is_blamed() -> None:
    story = Story()
    story.says(1, "read to me")
    story.tell(ev.TextDelta("r1", "Once"))
    story.speech("r1", 3000, "Once")
    story.tell(ev.Backlog(1500))
    story.wait(1000)
    story.tell(ev.Backlog(1600))
    commands = story.wait(NOT_READING_MS - 1000)
    assert kinds(commands) == [
        do.Disconnect,
        do.CancelResponse,
        do.PlayEnded,
        do.ResponseDoneNotice,
        do.CloseSession,
    ]
    assert story.tell(ev.Tick(), ev.ClientGone()) == []


def test_services_are_not_overdue_while_the_client_does_not_read() -> None:
    story = Story()
    story.says(1, "read to me")
    story.tell(ev.GenerationDone("r1", complete=True))
    story.speech("r1", 3000, "Once")
    story.wait(SETTINGS.speech_timeout_ms - 5000)
    story.tell(ev.Backlog(1500))
    story.wait(NOT_READING_MS - 1000)
    story.tell(ev.Backlog(0))
    assert not of(do.ResponseDoneNotice, story.wait(1000))
    assert one(do.ResponseDoneNotice, story.wait(30_000)).message == "tts: nothing came in time"


def test_a_backlog_outlives_the_answer_that_made_it() -> None:
    story = Story(SessionSettings(lead_ms=10_000))
    story.says(1, "hello")
    story.answers("r1", "Good day.", 2000)
    assert story.session.response is None
    story.tell(ev.Backlog(1500))
    story.says(2, "are you there")
    assert not of(do.Play, story.answers("r2", "Yes.", 500))
    assert of(do.Disconnect, story.wait(NOT_READING_MS))


# -- services that fail -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("early", [True, False])
def test_a_turn_that_its_recogniser_could_not_do_is_sent_to_another_when_it_is_over(early: bool) -> None:
    story = Story()
    failed = ev.TurnFailed(1, "asr: gone", retryable=True)
    story.starts_speaking(1)
    commands = story.tell(failed) if early else []
    assert not commands
    commands = story.stops_speaking(1)
    if not early:
        commands += story.tell(failed)
    again = one(do.RecogniseAgain, commands)
    assert (again.turn_id, again.at_sample, len(again.pcm)) == (1, 0, (story.sent_samples - 8000) * 2)
    assert not of(do.TurnFailedNotice, commands)
    assert of(do.Respond, story.tell(ev.Transcript(1, "hello", 500)))


def test_a_turn_is_tried_twice_and_no_more_but_refusals_do_not_count() -> None:
    story = Story()
    story.starts_speaking(1)
    story.stops_speaking(1)
    refused = ev.TurnFailed(1, "asr: at capacity", retryable=True, refused=True)
    for _ in range(5):
        assert of(do.RecogniseAgain, story.tell(refused))
    failed = ev.TurnFailed(1, "asr: broken", retryable=True)
    assert of(do.RecogniseAgain, story.tell(failed))
    assert kinds(story.tell(failed)) == [do.TurnFailedNotice]


def test_a_turn_that_waited_for_a_recogniser_has_all_of_its_time_from_then_on() -> None:
    story = Story()
    story.starts_speaking(1)
    story.stops_speaking(1)
    story.tell(ev.TurnFailed(1, "asr: gone", retryable=True))
    story.wait(SETTINGS.transcript_timeout_ms - 1)
    story.tell(ev.TurnTaken(1))
    assert story.wait(SETTINGS.transcript_timeout_ms - 1) == []
    assert story.wait(1)


def test_the_audio_of_turns_is_kept_only_until_they_have_their_text() -> None:
    story = Story()
    story.says(1, "hello")
    story.sends(60_000)
    kept = sum(len(block) for _, block in story.session._input._blocks)
    assert kept <= (BACK_MS + 500) * BYTES_PER_MS


@pytest.mark.parametrize("role", [ev.Role.LLM, ev.Role.TTS])
def test_an_answer_of_which_nothing_was_heard_is_asked_for_again_once(role: ev.Role) -> None:
    story = Story()
    first = one(do.Respond, story.says(1, "hello"))
    story.tell(ev.TextDelta("r1", "Good day, Mr."))
    failed = ev.ResponseFailed("r1", role, "gone", retryable=True)
    commands = story.tell(failed)
    again = one(do.AskAgain, commands)
    assert kinds(commands) == [do.AskAgain]
    assert (again.request.messages, again.request.generation) == (first.messages, 1)
    commands = story.answers("r1", "Good evening.", 500) + story.wait(2000)
    assert "".join(notice.text for notice in of(do.TextNotice, commands)) == "Good evening."
    done = one(do.ResponseDoneNotice, commands)
    assert (done.status, done.text) == (Status.COMPLETED, "Good evening.")
    assert story.remembered()[-1] == "assistant: Good evening."
    story.says(2, "and now?")
    story.tell(failed, ev.ResponseFailed("r2", role, "gone", retryable=True))
    assert kinds(story.tell(ev.ResponseFailed("r2", role, "gone", retryable=True))) == [
        do.CancelResponse,
        do.PlayEnded,
        do.ResponseDoneNotice,
    ]


def test_an_answer_that_was_heard_in_part_is_not_asked_for_again() -> None:
    story = Story()
    story.says(1, "hello")
    story.tell(ev.TextDelta("r1", "Good day."))
    story.speech("r1", 500, "Good day.")
    commands = story.tell(ev.ResponseFailed("r1", ev.Role.TTS, "gone", retryable=True))
    assert one(do.ResponseDoneNotice, commands).status is Status.FAILED


def test_the_text_of_an_answer_is_told_when_it_begins_to_be_heard() -> None:
    story = Story()
    story.says(1, "hello")
    assert not of(do.TextNotice, story.tell(ev.TextDelta("r1", "Good "), ev.TextDelta("r1", "day.")))
    commands = story.speech("r1", 100, "Good day.")
    assert kinds(commands)[:2] == [do.TextNotice, do.Play]
    assert one(do.TextNotice, story.tell(ev.TextDelta("r1", " Well?"))).text == " Well?"


# -- a vad that is lost -----------------------------------------------------------------------------------------------


def test_a_vad_lost_while_nobody_speaks_is_replaced_without_loss() -> None:
    """The next one hears a little again: the last may have been about to hear a turn begin."""
    story = Story()
    story.sends(5120)
    story.sends(256, used=False)
    lost = story.tell(ev.InputLost("vad: gone"))
    assert kinds(lost) == [do.InputLostNotice]
    story.sends(256, used=False)
    commands = story.tell(ev.InputFound())
    opened = one(do.OpenInput, commands)
    assert (opened.at_sample, opened.first_turn_id, opened.in_turn) == ((5120 - BACK_MS) * 16, 1, False)
    assert sum(len(c.pcm) for c in of(do.SendAudio, commands)) == (BACK_MS + 512) * BYTES_PER_MS
    assert of(do.Respond, story.says(1, "hello"))


def test_what_belongs_to_a_turn_that_is_over_is_not_heard_again() -> None:
    story = Story()
    story.says(1, "hello")
    over_at = story.sent_samples
    story.sends(256)
    opened = one(do.OpenInput, story.tell(ev.InputFound()))
    assert (opened.at_sample, opened.first_turn_id) == (over_at, 2)


def spoken_at_two_vads(story: Story) -> list[do.Command]:
    """A turn in the middle of which its vad is lost, to its end at another one."""
    story.starts_speaking(1)
    commands = story.tell(ev.InputLost("vad: gone"))
    story.sends(256, used=False)
    commands += story.tell(ev.InputFound())
    return commands + story.stops_speaking(1)


def test_a_turn_goes_on_at_another_vad_and_is_recognised_from_its_start() -> None:
    story = Story()
    commands = spoken_at_two_vads(story)
    assert kinds(commands) == [
        do.CancelTurn,
        do.InputLostNotice,
        do.OpenInput,
        do.SpeechStoppedNotice,
        do.RecogniseAgain,
    ]
    opened, again = one(do.OpenInput, commands), one(do.RecogniseAgain, commands)
    assert (opened.first_turn_id, opened.in_turn) == (1, True)
    stop = one(do.SpeechStoppedNotice, commands)
    assert again.at_sample == 0
    assert len(again.pcm) == stop.at_ms * BYTES_PER_MS
    assert of(do.Respond, story.tell(ev.Transcript(1, "hello", 500)))


def test_a_vad_that_takes_over_at_once_is_not_told_to_the_client() -> None:
    story = Story()
    story.starts_speaking(1)
    assert kinds(story.tell(ev.InputFound())) == [do.CancelTurn, do.OpenInput]


def test_a_turn_that_lost_its_vad_twice_fails() -> None:
    story = Story()
    story.starts_speaking(1)
    story.tell(ev.InputFound())
    commands = story.tell(ev.InputLost("vad: gone"))
    assert kinds(commands) == [do.SpeechStoppedNotice, do.CancelTurn, do.TurnFailedNotice, do.InputLostNotice]
    assert one(do.OpenInput, story.tell(ev.InputFound())).first_turn_id == 2
    assert of(do.Respond, story.says(2, "hello"))


def test_a_turn_whose_vad_does_not_come_back_in_time_fails() -> None:
    story = Story()
    story.starts_speaking(1)
    story.tell(ev.InputLost("vad: gone"))
    commands = story.wait(SETTINGS.transcript_timeout_ms)
    assert kinds(commands) == [do.SpeechStoppedNotice, do.CancelTurn, do.TurnFailedNotice]
    assert story.session.next_tick_ms() is None


def test_a_late_end_of_a_turn_whose_vad_was_left_is_its_end() -> None:
    story = Story()
    story.starts_speaking(1)
    story.tell(ev.InputLost("vad: nothing came in time"))
    commands = story.tell(ev.SpeechStopped(1, 1536, 1536))
    assert kinds(commands) == [do.SpeechStoppedNotice, do.RecogniseAgain]
    story.wait(SETTINGS.transcript_timeout_ms - 1)
    story.tell(ev.TurnFailed(1, "asr: at capacity", retryable=True, refused=True))  # and all the time again
    assert story.wait(SETTINGS.transcript_timeout_ms - 1) == []
    assert of(do.Respond, story.tell(ev.Transcript(1, "hello", 96)))


def test_a_vad_lost_while_its_turn_is_transcribed_does_not_cost_the_turn() -> None:
    story = Story()
    story.starts_speaking(1)
    story.stops_speaking(1)
    assert kinds(story.tell(ev.InputLost("vad: gone"))) == [do.InputLostNotice]
    assert of(do.Respond, story.tell(ev.Transcript(1, "hello", 500)))


def test_a_vad_lost_when_the_text_of_the_open_turn_was_there_already_does_not_cost_the_turn() -> None:
    story = Story()
    story.starts_speaking(1)
    story.tell(ev.Transcript(1, "hello", 500))
    commands = story.tell(ev.InputLost("vad: gone"))
    assert kinds(commands)[0] is do.SpeechStoppedNotice
    assert [m.text for m in one(do.Respond, commands).messages] == ["hello"]


def test_a_turn_that_a_lost_vad_heard_does_not_begin() -> None:
    story = Story()
    story.sends(256)
    story.tell(ev.InputLost("vad: gone"))
    assert story.tell(ev.SpeechStarted(1, 0, 4096)) == []
    assert one(do.OpenInput, story.tell(ev.InputFound())).first_turn_id == 1


def test_a_vad_that_is_lost_twice_is_lost_once() -> None:
    story = Story()
    story.tell(ev.InputLost("vad: gone"))
    assert story.tell(ev.InputLost("vad: gone")) == []
    assert len(of(do.OpenInput, story.tell(ev.InputFound()))) == 1


def test_the_end_of_a_turn_tells_how_far_the_vad_has_come() -> None:
    story = Story()
    story.sends(256, used=False)
    at = story.sent_samples
    story.tell(ev.SpeechStarted(1, 0, at))
    story.sends(256, used=False)
    story.tell(ev.SpeechStopped(1, at, story.sent_samples), ev.InputLost("vad: gone"))
    commands = story.tell(ev.InputFound())
    assert not of(do.SendAudio, commands)  # else the turn would be heard, and answered, twice


def test_a_vad_that_uses_nothing_in_time_is_given_up() -> None:
    story = Story()
    story.sends(1024, used=False)
    commands = story.wait(SETTINGS.vad_timeout_ms)
    assert kinds(commands) == [do.CloseInput, do.InputLostNotice]
    assert story.session.next_tick_ms() is None
    assert of(do.SendAudio, story.tell(ev.InputFound()))
    assert of(do.CloseInput, story.wait(SETTINGS.vad_timeout_ms))


def test_a_vad_need_not_tell_that_it_used_the_last_half_second() -> None:
    story = Story()
    story.sends(1024)
    story.sends(480, used=False)
    assert story.session.idle
    assert story.wait(60_000) == []


def test_a_vad_that_takes_all_silence_and_never_ends_the_turn_is_given_up() -> None:
    story = Story()
    story.starts_speaking(1)
    commands: list[do.Command] = []
    while not of(do.CloseInput, commands):
        commands += story.wait(100)
        commands += story.tell(ev.AudioConsumed(story.sent_samples))
        assert story.now_ms < 20_000
    commands += story.wait(SETTINGS.transcript_timeout_ms)
    assert one(do.TurnFailedNotice, commands).turn_id == 1
    assert story.session._turns.state is TurnState.LISTENING


# -- the end ----------------------------------------------------------------------------------------------------------


def test_a_client_that_leaves_in_mid_answer_ends_it_and_the_session() -> None:
    story = Story()
    story.says(1, "hello")
    story.answers("r1", "Good day.", 2000)
    commands = story.tell(ev.ClientGone())
    assert kinds(commands) == [do.CancelResponse, do.PlayEnded, do.ResponseDoneNotice, do.CloseSession]
    assert one(do.ResponseDoneNotice, commands).status is Status.CANCELLED


def test_leaving_is_idempotent_and_nothing_comes_after() -> None:
    story = Story()
    assert kinds(story.tell(ev.ClientGone())) == [do.CloseSession]
    assert story.tell(ev.ClientGone(), ev.Tick(), ev.AudioReceived(bytes(4096)), ev.InputFound()) == []
    assert story.tell(ev.SpeechStarted(1, 0, 0), ev.InputLost("gone")) == []


def test_of_a_client_that_has_left_no_audio_is_kept() -> None:
    story = Story()
    story.sends(1000, used=False)
    story.tell(ev.ClientGone())
    assert story.session._input.again(0) == []
