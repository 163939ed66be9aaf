"""Tries to break the invariants of a conversation with frames that come late, twice, in any order or never.

The world of this machine is a pool of frames that services have sent. Any of them may be delivered next, some stay for
a second delivery, some are dropped; meanwhile the client speaks, reads or does not, time passes, and services are lost.
Every command is checked by `Ledger`; what needs the machine's own knowledge is checked here.
"""

import math

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.core import commands as do
from gateway.core import events as ev
from gateway.core.input import BACK_MS, BYTES_PER_MS, IN_FLIGHT_MS
from gateway.core.response import Status
from gateway.core.session import SessionSettings
from gateway.core.turn import TurnState
from tests.gateway.core.stories import Story, of

# Beyond the sum of all time-outs: silence ends a turn, its text is given up, the answer plays out or is given up.
BOUND_MS = 400_000
SETTINGS = st.builds(
    SessionSettings,
    lead_ms=st.sampled_from([20, 200, 3000]),
    silence_duration_ms=st.sampled_from([100, 500, 10_000]),
    reopen_ms=st.sampled_from([0, 1000]),
    starvation_ms=st.sampled_from([50, 400]),
    half_duplex=st.booleans(),
    output_rate=st.sampled_from([16_000, 24_000]),
)


class Conversation(RuleBasedStateMachine):
    """One session in a bad world."""

    def __init__(self) -> None:
        super().__init__()
        self.story = Story()
        self.pool: list[ev.Event] = []
        self.turns = 0
        self.texts: set[str] = set()  # words that a recogniser has sent; each is unique
        self.failed_synthesis: set[str] = set()
        self.audio_of: dict[int, str] = {}  # sample value -> response

    @initialize(told=SETTINGS)
    def connect(self, told: SessionSettings) -> None:
        self.story = Story(told)

    # -- the client ---------------------------------------------------------------------------------------------------

    @rule(ms=st.sampled_from([2, 20, 100, 512]))
    def client_sends(self, ms: int) -> None:
        if self.story.session.wants_audio:
            self._tell(ev.AudioReceived(b"\1\0" * (ms * BYTES_PER_MS // 2)))

    @rule(ms=st.sampled_from([0.0, 0.0, 1000.0]))
    def client_reads_or_not(self, ms: float) -> None:
        self._tell(ev.Backlog(ms))

    @rule(chance=st.integers(0, 15))
    def client_leaves(self, chance: int) -> None:
        if chance == 0:
            self._tell(ev.ClientGone())

    @rule(ms=st.sampled_from([1, 20, 130, 600, 3000, 16_000]))
    def time_passes(self, ms: int) -> None:
        self._check(self.story.wait(ms))

    # -- the services -------------------------------------------------------------------------------------------------

    @rule(back=st.integers(0, 20_000))
    def vad_acknowledges(self, back: int) -> None:
        self.pool.append(ev.AudioConsumed(max(0, self.story.sent_samples - back)))

    @rule()
    def vad_hears_a_turn_begin(self) -> None:
        self.turns = max(self.turns, self.story.session.newest_turn) + 1
        at = self.story.sent_samples
        self.pool.append(ev.SpeechStarted(self.turns, max(0, at - 4800), at))

    @precondition(lambda self: self.turns)
    @rule(back=st.integers(0, 1), goes_on=st.booleans())
    def vad_hears_a_pause(self, *, back: int, goes_on: bool) -> None:
        turn_id = max(1, self.turns - back)
        self.pool.append(ev.SpeechResumed(turn_id) if goes_on else ev.SpeechPaused(turn_id))

    @precondition(lambda self: self.turns)
    @rule(back=st.integers(0, 1))
    def vad_hears_a_turn_end(self, back: int) -> None:
        at = self.story.sent_samples
        self.pool.append(ev.SpeechStopped(max(1, self.turns - back), max(0, at - 8000), at))

    @precondition(lambda self: self.turns)
    @rule(
        back=st.integers(0, 2),
        what=st.sampled_from(["text", "text", "nothing", "partial", "failure", "may try again", "refusal"]),
    )
    def asr_sends(self, back: int, what: str) -> None:
        turn_id = max(1, self.turns - back)
        match what:
            case "text":
                word = f"word{len(self.texts)}"
                self.texts.add(word)
                self.pool.append(ev.Transcript(turn_id, f" {word} ", 700))
            case "nothing":
                self.pool.append(ev.Transcript(turn_id, "", 700))
            case "partial":
                self.pool.append(ev.PartialTranscript(turn_id, "wo"))
            case "failure":
                self.pool.append(ev.TurnFailed(turn_id, "asr: broken"))
            case _:
                self.pool.append(ev.TurnFailed(turn_id, "asr", retryable=True, refused=what == "refusal"))

    @rule()
    def a_whole_turn_is_heard_and_understood(self) -> None:
        self.vad_hears_a_turn_begin()
        self.vad_hears_a_turn_end(back=0)
        self.asr_sends(back=0, what="text")

    @precondition(lambda self: self.story.ledger.responses.active)
    @rule(ms=st.sampled_from([20, 333, 2000]), at_once=st.booleans())
    def a_whole_answer_is_made(self, ms: int, *, at_once: bool) -> None:
        for what in ("text", "speech", "text done", "speech done"):
            self.llm_or_tts_sends(old=False, what=what, ms=ms)
        if at_once:
            frames = self.pool[-4:]
            del self.pool[-4:]
            self._tell(*frames)

    @precondition(lambda self: self.story.ledger.responses.active or self.story.ledger.responses.statuses)
    @rule(
        old=st.booleans(),
        what=st.sampled_from(["text", "text done", "cut off", "speech", "speech", "silent", "speech done"]),
        ms=st.sampled_from([1, 20, 333, 2000]),
    )
    def llm_or_tts_sends(self, *, old: bool, what: str, ms: int) -> None:
        response_id = self._response_id(old=old)
        match what:
            case "text":
                self.pool.append(ev.TextDelta(response_id, "some text "))
            case "text done":
                self.pool.append(ev.GenerationDone(response_id, complete=True))
            case "cut off":
                self.pool.append(ev.GenerationDone(response_id, complete=False))
            case "speech":
                sample = int(response_id[1:]) % 120 + 1
                self.audio_of[sample] = response_id
                self.pool.append(ev.SpeechReceived(response_id, bytes([sample, 0]) * (ms * 16), "some text "))
            case "silent":
                self.pool.append(ev.SpeechReceived(response_id, b"", "some text "))
            case _:
                self.pool.append(ev.SynthesisDone(response_id))

    @precondition(lambda self: self.story.ledger.responses.active or self.story.ledger.responses.statuses)
    @rule(
        old=st.booleans(), role=st.sampled_from([ev.Role.LLM, ev.Role.TTS]), again=st.booleans(), refused=st.booleans()
    )
    def llm_or_tts_fails(self, *, old: bool, role: ev.Role, again: bool, refused: bool) -> None:
        response_id = self._response_id(old=old)
        self.pool.append(ev.ResponseFailed(response_id, role, "broken", retryable=again, refused=refused))

    @rule(chance=st.integers(0, 3))
    def vad_is_lost(self, chance: int) -> None:
        if chance == 0:
            self._tell(ev.InputLost("vad: gone"))

    @rule()
    def vad_is_found(self) -> None:
        self._tell(ev.InputFound())

    # -- the bus ------------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.pool)
    @rule()
    def the_oldest_frame_arrives(self) -> None:
        self._tell(self.pool.pop(0))

    @precondition(lambda self: self.pool)
    @rule()
    def all_frames_arrive(self) -> None:
        pool, self.pool = self.pool, []
        self._tell(*pool)

    @precondition(lambda self: self.pool)
    @rule(place=st.integers(0, 30), fate=st.sampled_from(["arrives", "arrives and comes again", "is lost"]))
    def some_frame(self, place: int, fate: str) -> None:
        place %= len(self.pool)
        event = self.pool[place]
        if fate != "arrives and comes again":
            del self.pool[place]
        if fate != "is lost":
            self._tell(event)

    # -- what must hold -----------------------------------------------------------------------------------------------

    @invariant()
    def the_next_tick_is_a_time(self) -> None:
        due_ms = self.story.session.next_tick_ms()
        assert due_ms is None or math.isfinite(due_ms)

    @invariant()
    def the_session_agrees_with_what_it_told(self) -> None:
        session, ledger = self.story.session, self.story.ledger
        if ledger.closed:
            return
        assert (session._turns.state is TurnState.SPEAKING) is (ledger.turns.speaking is not None)
        assert (session.response.response_id if session.response else None) == ledger.responses.active
        if session.response is not None:
            assert session._turns.state is TurnState.LISTENING

    @invariant()
    def the_vad_is_never_far_behind(self) -> None:
        assert self.story.session._input.in_flight_ms <= IN_FLIGHT_MS + 512 + BACK_MS

    def teardown(self) -> None:
        """Let the world fall silent: with nothing but ticks everything comes to its end."""
        session, ledger = self.story.session, self.story.ledger
        self._check(self.story.wait(BOUND_MS))
        if not ledger.closed:
            assert session.next_tick_ms() is None
            assert session._turns.state is TurnState.LISTENING
            assert session.response is None
            assert session.idle or not ledger.hearing.open
            self._tell(ev.ClientGone())
        assert ledger.closed
        assert self.story.tell(ev.ClientGone(), ev.Tick(), *self.pool) == []

    # -- between ------------------------------------------------------------------------------------------------------

    def _response_id(self, *, old: bool) -> str:
        responses = self.story.ledger.responses
        return responses.active if responses.active and not old else min(responses.statuses, default="r1")

    def _tell(self, *events: ev.Event) -> None:
        for event in events:
            active = self.story.ledger.responses.active
            response = self.story.session.response
            speech_complete = response is not None and response.playout.complete
            commands = self.story.tell(event)
            self._check(commands)
            match event:
                case ev.ResponseFailed(active_id, ev.Role.TTS) if active_id == active and not speech_complete:
                    if not of(do.AskAgain, commands):
                        self.failed_synthesis.add(active_id)

    def _check(self, commands: list[do.Command]) -> None:
        for play in of(do.Play, commands):
            if any(play.pcm):
                assert {self.audio_of[sample] for sample in set(play.pcm[::2])} == {play.response_id}
        for request in [*of(do.Respond, commands), *(again.request for again in of(do.AskAgain, commands))]:
            words = [word for m in request.messages if m.author == "user" for word in m.text.split()]
            assert set(words) <= self.texts, "words that nobody said"
            assert len(set(words)) == len(words), "words used twice"
        for done in of(do.ResponseDoneNotice, commands):
            if done.response_id in self.failed_synthesis:
                assert done.status is not Status.COMPLETED


Conversation.TestCase.settings = settings(max_examples=settings().max_examples * 3, stateful_step_count=60)
TestAnyConversation = Conversation.TestCase
