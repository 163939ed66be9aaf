"""Tries to break a Realtime session with a client that does anything and services whose frames come late or never.

The world of this machine is a pool of frames that services have sent. Any of them may be delivered next, some stay for
a second delivery, some are dropped; meanwhile the client sends every event there is, time passes, services are lost.
Every command is checked by `Ledger`; what needs the machine's own knowledge is checked here.
"""

import math
from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.core.input import BACK_MS, IN_FLIGHT_MS
from gateway.core.realtime import client_events as client
from gateway.core.realtime import commands as do
from gateway.core.realtime import events as ev
from gateway.core.realtime import notices as tell
from gateway.core.realtime.config import AudioFormat, SessionConfig, Transcription, TurnDetection
from gateway.core.realtime.items import Item, Part
from gateway.core.realtime.settings import RealtimeSettings
from gateway.core.response import Status
from tests.gateway.core.realtime.stories import Story, of, user

# Beyond the sum of all time-outs: silence ends a turn, its text is given up, then its answer, then the queued one.
BOUND_MS = 400_000
DETECTION = st.one_of(
    st.none(),
    st.builds(
        TurnDetection,
        type=st.sampled_from(["server_vad", "semantic_vad"]),
        create_response=st.booleans(),
        interrupt_response=st.booleans(),
    ),
)
CONFIG = st.builds(
    SessionConfig,
    turn_detection=DETECTION,
    transcription=st.sampled_from([None, Transcription("any")]),
    truncation=st.sampled_from(["auto", "disabled", {"type": "retention_ratio", "retention_ratio": 0.5}]),
)
SETTINGS = st.builds(
    RealtimeSettings,
    lead_ms=st.sampled_from([5000, 30_000]),
    buffer_ms=st.sampled_from([2000, 300_000]),
    kept_audio_bytes=st.sampled_from([0, 10_000, 1_000_000]),
    max_items=st.sampled_from([3, 1000]),
    context_tokens=st.sampled_from([20, 28_224]),
    lenient_calls=st.booleans(),
)


class Conversation(RuleBasedStateMachine):
    """One session in a bad world."""

    def __init__(self) -> None:
        super().__init__()
        self.story = Story()
        self.pool: list[ev.ServiceEvent] = []
        self.turns = 0
        self.failed_synthesis: set[str] = set()

    @initialize(config=CONFIG, told=SETTINGS)
    def connect(self, config: SessionConfig, told: RealtimeSettings) -> None:
        self.story = Story(config, told)

    # -- the client ---------------------------------------------------------------------------------------------------

    @rule(ms=st.sampled_from([2, 20, 100, 512]))
    def client_appends(self, ms: int) -> None:
        if self.story.session.wants_audio:
            self.story.appends(ms)

    @rule(what=st.sampled_from([client.CommitInput("e"), client.CommitInput("e"), client.ClearInput("e")]))
    def client_commits_or_clears(self, what: client.ClientEvent) -> None:
        self._tell(what)

    @rule(detection=DETECTION)
    def client_changes_turn_detection(self, detection: TurnDetection | None) -> None:
        self.story.updates(turn_detection=detection)

    @rule(
        voice=st.sampled_from(["", "", "ash"]),
        model=st.sampled_from(["", "", "other"]),
        encoding=st.sampled_from(["pcm", "pcm", "pcmu"]),
        transcription=st.sampled_from([None, Transcription("any")]),
    )
    def client_changes_the_session(
        self, voice: str, model: str, encoding: str, transcription: Transcription | None
    ) -> None:
        wire = AudioFormat() if encoding == "pcm" else AudioFormat("pcmu", 8000)
        self.story.updates(voice=voice, model=model, input_format=wire, transcription=transcription)

    @rule(
        item_id=st.sampled_from(["", "", "mine", "theirs"]),
        place=st.integers(-2, 5),
        kind=st.sampled_from(["text", "long", "audio", "call", "output", "image"]),
    )
    def client_creates_an_item(self, item_id: str, place: int, kind: str) -> None:
        order = self.story.ledger.order
        calls = [e.item.call_id for e in self.story.session.conversation.entries if e.item.type == "function_call"]
        item = {
            "text": user("word", item_id),
            "long": user("word " * 50, item_id),
            "audio": Item(item_id, "message", "user", parts=[Part("input_audio", audio=bytes(9600))]),
            "image": Item(item_id, "message", "user", parts=[Part("input_image", image_url="data:image/png,")]),
            "call": Item(item_id, "function_call", name="f", arguments="{}"),
            "output": Item(item_id, "function_call_output", call_id=calls[0] if calls else "nobody's", output="1"),
        }[kind]
        previous = {-2: "root", -1: "nobody"}.get(place, order[place] if 0 <= place < len(order) else None)
        self._tell(client.CreateItem(item, previous, "e"))

    @rule(
        place=st.integers(0, 5),
        what=st.sampled_from(["retrieve", "truncate", "truncate", "delete"]),
        ms=st.integers(0, 3000),
    )
    def client_uses_an_item(self, place: int, what: str, ms: int) -> None:
        order = self.story.ledger.order
        item_id = order[-1 - place] if place < len(order) else "nobody"
        match what:
            case "retrieve":
                self._tell(client.RetrieveItem(item_id, "e"))
            case "truncate":
                self._tell(client.TruncateItem(item_id, 0, ms, "e"))
            case _:
                self._tell(client.DeleteItem(item_id, "e"))

    @rule(
        text=st.booleans(),
        beside=st.booleans(),
        given=st.sampled_from([None, None, (), (client.ItemReference("mine"),)]),
    )
    def client_asks_for_a_response(
        self, *, text: bool, beside: bool, given: tuple[client.ItemReference, ...] | None
    ) -> None:
        config = replace(self.story.session.config.response, modality="text" if text else "audio")
        active = self.story.ledger.active
        commands = self._tell(client.CreateResponse(config, in_conversation=not beside, input=given, event_id="e"))
        if active is None and given is None and not beside and not self.story.ledger.closed:
            assert of(tell.ResponseCreated, commands), "still active in secret"

    @rule(chance=st.integers(0, 2))
    def client_cancels(self, chance: int) -> None:
        running = self.story.ledger.running
        named = running[chance] if chance < len(running) else None
        active = self.story.ledger.active
        closed = self.story.ledger.closed
        commands = self._tell(client.CancelResponse(named, "e"))
        assert closed or bool(of(tell.ResponseDone, commands)) is (named is not None or active is not None)

    @rule(ms=st.sampled_from([0.0, 0.0, 1000.0]))
    def client_reads_or_not(self, ms: float) -> None:
        self._tell(ev.Backlog(ms))

    @rule(chance=st.integers(0, 30))
    def client_leaves_or_is_too_old(self, chance: int) -> None:
        if chance < 2:
            self._tell(client.SessionExpired() if chance else ev.ClientGone())

    @rule(ms=st.sampled_from([1, 20, 130, 600, 3000, 16_000]))
    def time_passes(self, ms: int) -> None:
        self.story.wait(ms)

    # -- the services -------------------------------------------------------------------------------------------------

    @rule(back=st.integers(0, 20_000))
    def vad_acknowledges(self, back: int) -> None:
        self.pool.append(ev.AudioConsumed(max(0, self.story.sent_samples - back)))

    @rule(back=st.sampled_from([0, 0, 4800, 16_000]))
    def vad_hears_a_turn_begin(self, back: int) -> None:
        self.turns = max(self.turns, self.story.session._hearing.texts.turns.newest) + 1
        at = max(0, self.story.sent_samples - back)
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
                self.pool.append(ev.Transcript(turn_id, " word ", 700))
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
        self.vad_hears_a_turn_begin(back=0)
        self.vad_hears_a_turn_end(back=0)
        self.asr_sends(back=0, what="text")

    @precondition(lambda self: self.story.ledger.responses)
    @rule(
        newest=st.integers(0, 2),
        what=st.lists(
            st.sampled_from(["text", "call", "call ends", "other call", "speech", "silent", "speech done"]), max_size=4
        ),
        ms=st.sampled_from([1, 20, 333, 2000]),
        end=st.sampled_from([None, None, "stop", "tool_calls", "max_output_tokens"]),
    )
    def llm_and_tts_send(self, newest: int, what: list[str], ms: int, end: str | None) -> None:
        r = self._response_id(newest)
        for kind in what:
            match kind:
                case "text":
                    self.pool.append(ev.TextDelta(r, "some text "))
                case "call" | "call ends":
                    self.pool.append(ev.ToolCallDelta(r, "m1", "f", "{}", 0, complete=kind == "call ends"))
                case "other call":
                    self.pool.append(ev.ToolCallDelta(r, "m2", "g", "{}", 1))
                case "speech":
                    self.pool.append(ev.SpeechReceived(r, bytes(ms * 48), "some text "))
                case "silent":
                    self.pool.append(ev.SpeechReceived(r, b"", "some text "))
                case _:
                    self.pool.append(ev.SynthesisDone(r))
        if end == "stop":
            self.pool.append(ev.GenerationDone(r, "stop", 3, 4))
            self.pool.append(ev.SynthesisDone(r))
        elif end == "tool_calls":
            self.pool.append(ev.GenerationDone(r, "tool_calls", 3, 4))
        elif end is not None:
            self.pool.append(ev.GenerationDone(r, "max_output_tokens", 3, 4))

    @precondition(lambda self: self.story.ledger.responses)
    @rule(
        newest=st.integers(0, 2),
        role=st.sampled_from([ev.Role.LLM, ev.Role.TTS]),
        again=st.booleans(),
        refused=st.booleans(),
    )
    def llm_or_tts_fails(self, newest: int, role: ev.Role, *, again: bool, refused: bool) -> None:
        response_id = self._response_id(newest)
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
        for event in pool:
            self._tell(event)

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
        assert [response.id for response in session._answers.responses] == ledger.running
        assert [entry.item.id for entry in session.conversation.entries] == ledger.order
        assert session._hearing.speaking is (ledger.speaking is not None)

    @invariant()
    def what_is_kept_is_bounded(self) -> None:
        session = self.story.session
        told = session._scene.settings
        assert session._hearing._input.in_flight_ms <= IN_FLIGHT_MS + 544 + BACK_MS
        assert len(session.conversation.entries) <= told.max_items
        kept = sum(len(entry.audio) for entry in session.conversation.entries)
        assert kept == session.conversation._kept_bytes <= told.kept_audio_bytes

    def teardown(self) -> None:
        """Let the world fall silent: with nothing but ticks everything comes to its end."""
        session, ledger = self.story.session, self.story.ledger
        self._tell(ev.Backlog(0))
        self.story.wait(BOUND_MS)
        if not ledger.closed:
            assert session.next_tick_ms() is None
            assert session._answers.responses == ()
            assert ledger.speaking is None
            assert not session._hearing.texts.closing
            assert not any(entry.pending for entry in session.conversation.entries)
            self._tell(ev.ClientGone())
        assert ledger.closed
        for event in (ev.ClientGone(), ev.Tick(), *self.pool):
            assert self._tell(event) == []

    # -- between ------------------------------------------------------------------------------------------------------

    def _response_id(self, newest: int) -> str:
        known = list(self.story.ledger.responses)
        return known[-1 - newest % len(known)]

    def _tell(self, event: ev.Event) -> list[do.Command]:
        before = self.story.ledger.running
        match event:
            case ev.ResponseFailed(response_id, ev.Role.TTS) if response_id in before:
                response = next(r for r in self.story.session._answers.responses if r.id == response_id)
                if response.asked and response.speaks and not response.speech_complete:
                    self.failed_synthesis.add(response_id)
            case ev.TurnFailed(turn_id, refused=True):
                refusals = self.story.ledger.refusals
                refusals[turn_id] = refusals.get(turn_id, 0) + 1
        commands = self.story.tell(event)
        self.failed_synthesis -= {again.response_id for again in of(do.AskAgain, commands)}
        if isinstance(event, client.UpdateSession | client.CreateItem | client.CreateResponse) and commands:
            rejected = of(tell.Rejected, commands)
            assert not rejected or len(commands) == 1, "rejected, but not without effect"
            assert all(error.event_id == event.event_id for error in rejected)
        for done in of(tell.ResponseDone, commands):
            if done.response.id in self.failed_synthesis:
                assert done.response.status is Status.FAILED
        return commands


Conversation.TestCase.settings = settings(max_examples=settings().max_examples * 2, stateful_step_count=60)
TestAnyConversation = Conversation.TestCase
