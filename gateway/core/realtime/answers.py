"""The agent's side: the responses of a session, at most one of them in its conversation.

A response is announced when it is created, and asked of the services once the texts of the items before it are known.
An automatic response to which there is nothing to say (noise was taken for speech) ends completed and empty; one whose
question was not understood because the recogniser failed ends failed.
"""

from collections.abc import Callable
from dataclasses import replace
from math import inf
from typing import Final

from gateway.core.realtime import client_events as client
from gateway.core.realtime import commands as do
from gateway.core.realtime import events as ev
from gateway.core.realtime import notices as tell
from gateway.core.realtime.conversation import Conversation, Entry
from gateway.core.realtime.prompt import ContextTooLongError, limit_of, prompt_of, unanswered
from gateway.core.realtime.response import Response
from gateway.core.realtime.scene import Scene
from gateway.core.response import Status

# How far the tts may run ahead of what it was last known to have sent. Bounds what waits in the gateway.
AHEAD_MS: Final = 5000
# An answer that two services failed at is not asked for a third time. A refusal is no failure: nothing was done.
MOST_FAILURES: Final = 2
# Grants are given in steps of this size at least, which is when half of the last is used up.
GRANT_STEP_MS: Final = 2500


class Answers:
    """Makes, follows and ends responses. *ended* is called when one of the conversation's is over."""

    def __init__(self, scene: Scene, conversation: Conversation, ended: Callable[[], None]) -> None:
        self._scene = scene
        self._conversation = conversation
        self._ended = ended
        self._all: dict[str, Response] = {}
        self._queued: Entry | None = None  # the item that waits for its automatic response; at most one
        self._held_since_ms: float | None = None
        self.conversation_id = scene.new_id("conv")
        self.active: Response | None = None
        self.generation = 0
        self.made = False
        """Whether there has been any response."""
        self.voice: str | None = None
        """The voice that the client has heard."""

    @property
    def quiet(self) -> bool:
        """Whether nothing is being answered."""
        return not self._all and self._queued is None

    @property
    def responses(self) -> tuple[Response, ...]:
        """Those under way, oldest first."""
        return tuple(self._all.values())

    # -- beginnings ---------------------------------------------------------------------------------------------------

    def create(self, event: client.CreateResponse) -> None:
        """Begin the response that the client asks for."""
        scene = self._scene
        if scene.config.type == "transcription":
            scene.reject("invalid_value", "Transcription sessions make no responses.", event.event_id)
            return
        if event.in_conversation and self.active is not None:
            message = (
                f"Conversation already has an active response in progress: {self.active.id}. "
                "Wait until the response is finished before creating a new one."
            )
            scene.reject("conversation_already_has_active_response", message, event.event_id)
            return
        if len(self._all) >= scene.settings.max_responses:
            message = f"There are {len(self._all)} responses in progress, as many as there may be."
            scene.reject("too_many_responses", message, event.event_id)
            return
        if event.config.modality == "audio" and not self.allows_voice(event.config.voice):
            message = "Cannot update a conversation's voice if assistant audio is present."
            scene.reject("cannot_update_voice", message, event.event_id)
            return
        context = self._conversation.entries if event.input is None else self._input(event)
        if context is not None:
            self._begin(event, context)

    def allows_voice(self, voice: str) -> bool:
        """Tell whether *voice* may speak: once one was heard, only that one and that of the session."""
        return self.voice in (None, voice) or voice == self._scene.config.response.voice

    def _input(self, event: client.CreateResponse) -> tuple[Entry, ...] | None:
        """Return the items that the client named, or refuse."""
        entries: list[Entry] = []
        for index, given in enumerate(event.input or ()):
            if not isinstance(given, client.ItemReference):
                entries.append(Entry(given))
                continue
            entry = self._conversation.get(given.item_id)
            if entry is None:
                message = f"Item with id '{given.item_id}' does not exist."
                self._scene.reject("invalid_value", message, event.event_id, f"response.input[{index}].id")
                return None
            entries.append(entry)
        return tuple(entries)

    def _begin(self, event: client.CreateResponse, context: tuple[Entry, ...], trigger: Entry | None = None) -> None:
        conversation = self._conversation if event.in_conversation else None
        response = Response(self._scene.new_id("resp"), event.config, conversation, context, trigger)
        self._all[response.id] = response
        self.made = True
        if event.in_conversation:
            self.active = response
            self._scene.heard_until_ms = inf
        self._scene.say(tell.ResponseCreated(response.view(self.conversation_id)))

    def answer(self, entry: Entry) -> None:
        """Answer the user's item, now or after the active response, if the session does that of itself."""
        config = self._scene.config
        if config.type == "transcription" or config.turn_detection is None or not config.turn_detection.create_response:
            return
        if self.active is not None:
            self._queued = entry
        else:
            self._begin_automatic(entry)

    def _begin_automatic(self, entry: Entry) -> None:
        request = client.CreateResponse(self._scene.config.response)
        self._begin(request, self._conversation.entries, trigger=entry)

    def ask(self) -> None:
        """Ask the services for those responses whose context is complete."""
        if not self._all:  # asked after every event, most of which are audio
            return
        while (response := next((waiting for waiting in self.responses if waiting.ready), None)) is not None:
            self._ask(response)  # ends it, at times, and begins the one that is queued

    def _ask(self, response: Response) -> None:
        scene = self._scene
        entries = [entry for entry in response.context if not entry.deleted]
        asking = response.trigger or (entries[-1] if entries else None)
        if asking is not None and asking.failed:
            self._end(response, Status.FAILED, code="asr_failed", message=asking.failed)
            return
        if response.trigger is not None and not response.trigger.heard and not unanswered(entries):
            self._end(response, Status.COMPLETED)
            return
        try:
            limit = limit_of(scene.config.truncation, scene.settings.context_tokens)
            messages = prompt_of(entries, response.config, limit)
        except ContextTooLongError as error:
            self._end(response, Status.FAILED, code="context_length_exceeded", message=str(error))
            return
        response.asked = True
        response.due_ms = scene.now_ms + scene.settings.text_timeout_ms
        response.granted_ms = AHEAD_MS
        request = do.Respond(
            response_id=response.id,
            turn_id=asking.turn_id if asking is not None else 0,
            generation=self.generation,
            config=response.config,
            messages=messages,
            granted_ms=AHEAD_MS,
            wants_speech=response.speaks,
        )
        response.request = request
        scene.say(request)

    def _ask_again(self, response: Response, role: ev.Role, *, refused: bool = False, elsewhere: str = "") -> bool:
        """Make the request again, if the client need not know; return whether that can be."""
        failures = response.failures + (not refused)
        if response.request is None or response.told or failures >= MOST_FAILURES:
            return False
        response.failures = failures
        response.begin_again()
        self.generation += 1
        response.request = replace(response.request, generation=self.generation)
        response.due_ms = self._scene.now_ms + self._scene.settings.text_timeout_ms
        response.granted_ms = AHEAD_MS
        self._scene.say(do.AskAgain(response.request, role, elsewhere))
        return True

    # -- what the services send ---------------------------------------------------------------------------------------

    def _asked(self, response_id: str) -> Response | None:
        """Return the response named, if it is under way: frames of any other are late."""
        response = self._all.get(response_id)
        return response if response is not None and response.asked else None

    def text(self, event: ev.TextDelta) -> None:
        """Take text."""
        response = self._asked(event.response_id)
        if response is not None and event.text and not response.text_complete:
            response.due_ms = self._scene.now_ms + self._scene.settings.text_timeout_ms
            response.add_text(self._scene, event.text)

    def call(self, event: ev.ToolCallDelta) -> None:
        """Take a piece of a function call."""
        response = self._asked(event.response_id)
        if response is not None and not response.text_complete:
            response.due_ms = self._scene.now_ms + self._scene.settings.text_timeout_ms
            response.add_call(self._scene, event)

    def generation_done(self, event: ev.GenerationDone) -> None:
        """Note that the llm has no more."""
        response = self._asked(event.response_id)
        if response is None or response.text_complete:
            return
        response.text_complete = True
        response.generation = event
        response.due_ms = self._scene.now_ms + self._scene.settings.speech_timeout_ms
        self._go_on(response)

    def speech(self, event: ev.SpeechReceived) -> None:
        """Take audio."""
        scene = self._scene
        response = self._asked(event.response_id)
        if response is None or response.speech_complete or not response.speaks or not (event.audio or event.text):
            return
        wait_ms = scene.settings.speech_timeout_ms if response.text_complete else scene.settings.text_timeout_ms
        response.due_ms = scene.now_ms + wait_ms
        response.add_speech(scene, event)
        if event.audio:
            self.voice = response.config.voice
        if response.audio_ms > response.granted_ms + AHEAD_MS:
            self._end(response, Status.FAILED, code="tts_failed", message="tts: sent more than it was granted")
        else:
            self._go_on(response)

    def synthesis_done(self, event: ev.SynthesisDone) -> None:
        """Note that the tts has no more."""
        response = self._asked(event.response_id)
        if response is not None:
            response.speech_complete = True
            self._go_on(response)

    def failed(self, event: ev.ResponseFailed) -> None:
        """End a response that a service cannot go on with. A service that has done its part may go."""
        response = self._asked(event.response_id)
        if response is None:
            return
        spoken = response.speech_complete or not response.speaks
        if response.text_complete if event.role is ev.Role.LLM else spoken:
            return
        if not event.retryable or not self._ask_again(response, event.role, refused=event.refused):
            role = event.role.value
            self._end(response, Status.FAILED, code=f"{role}_failed", message=f"{role}: {event.message}")

    def _go_on(self, response: Response) -> None:
        """Let the tts go on; end the response when all of it is sent."""
        response.advance(self._scene)
        if response.all_received:
            self._end(response, Status.INCOMPLETE if response.cut_off else Status.COMPLETED)
            return
        until_ms = self._may_reach_ms(response)
        if self._held_since_ms is None and until_ms >= response.granted_ms + GRANT_STEP_MS:
            response.granted_ms = until_ms
            self._scene.say(do.Grant(response.id, until_ms))
        if self._holds_up(response):
            # What is waited for is the client's playing, not the tts.
            response.due_ms = max(response.due_ms, self._scene.now_ms + self._scene.settings.speech_timeout_ms)

    def _may_reach_ms(self, response: Response) -> int:
        """Return how far the tts may go: a little beyond what it sent, and a lot beyond what can have been played."""
        if response.first_audio_at_ms is None or response.speech_complete:
            return response.granted_ms
        played_ms = self._scene.now_ms - response.first_audio_at_ms
        return int(min(response.audio_ms + AHEAD_MS, played_ms + self._scene.settings.lead_ms))

    def _holds_up(self, response: Response) -> bool:
        return not response.speech_complete and response.audio_ms > response.granted_ms - AHEAD_MS / 2

    # -- ends ---------------------------------------------------------------------------------------------------------

    def cancel(self, event: client.CancelResponse) -> None:
        """Stop the response that the client names, or the active one."""
        response = self.active if event.response_id is None else self._all.get(event.response_id)
        if response is None:
            message = "Cancellation failed: no active response found"
            self._scene.reject("response_cancel_not_active", message, event.event_id)
            return
        self._end(response, Status.CANCELLED, reason="client_cancelled")

    def interrupt(self) -> None:
        """Stop the active response because the user speaks, if the session is set so."""
        detection = self._scene.config.turn_detection
        if detection is None or not detection.interrupt_response:
            return
        self._queued = None
        if self.active is not None:
            self._end(self.active, Status.CANCELLED, reason="turn_detected")

    def cancel_making(self, entry: Entry) -> None:
        """Stop the response that *entry* is being made by, if there is one."""
        for response in self.responses:
            if any(output.entry is entry and not output.closed for output in response.outputs):
                self._end(response, Status.CANCELLED, reason="client_cancelled")

    def end_all(self, status: Status, *, reason: str = "", code: str = "", message: str = "") -> None:
        """End everything: the session is over."""
        self._queued = None
        for response in self.responses:
            self._end(response, status, reason=reason, code=code, message=message)

    def _end(self, response: Response, status: Status, *, reason: str = "", code: str = "", message: str = "") -> None:
        scene = self._scene
        if response.asked:
            if status in (Status.CANCELLED, Status.FAILED):
                self.generation += 1
                scene.say(do.CancelResponse(response.id, self.generation))
            else:
                scene.say(do.EndResponse(response.id))
        if status is Status.INCOMPLETE and response.generation is not None:
            reason = response.generation.reason
        response.close(scene, status)
        del self._all[response.id]
        view = response.view(self.conversation_id, reason=reason, code=code, message=message)
        scene.say(tell.ResponseDone(view))
        if response is self.active:
            self.active = None
            began_ms = scene.now_ms if response.first_audio_at_ms is None else response.first_audio_at_ms
            scene.heard_until_ms = max(began_ms + response.audio_ms, scene.now_ms)
            self._ended()
            queued, self._queued = self._queued, None
            if queued is not None and not queued.deleted:
                self._begin_automatic(queued)

    # -- time and the connection --------------------------------------------------------------------------------------

    def hold(self) -> None:
        """Give no grants: the client does not take its audio."""
        if self._held_since_ms is None:
            self._held_since_ms = self._scene.now_ms

    def release(self) -> None:
        """Go on: time stood still for the services, which waited for the client."""
        if self._held_since_ms is not None:
            for response in self.responses:
                response.due_ms += self._scene.now_ms - self._held_since_ms
            self._held_since_ms = None

    def next_tick_ms(self) -> float | None:
        """Return when time alone changes something."""
        if self._held_since_ms is not None:
            return None
        times: list[float] = []
        for response in self.responses:
            if not response.asked:
                continue
            times.append(response.due_ms)
            more = not response.speech_complete and response.audio_ms + AHEAD_MS >= response.granted_ms + GRANT_STEP_MS
            if response.first_audio_at_ms is not None and more:
                lead_ms = response.granted_ms + GRANT_STEP_MS - self._scene.settings.lead_ms
                times.append(response.first_audio_at_ms + lead_ms)
        return min(times, default=None)

    def tick(self) -> None:
        """Give up what is overdue, let go on what has waited for time to pass."""
        if self._held_since_ms is not None:
            return
        for response in self.responses:
            if not response.asked:
                continue
            if self._scene.now_ms >= response.due_ms and not self._holds_up(response):
                missing, late = (ev.Role.TTS if response.text_complete else ev.Role.LLM), "nothing came in time"
                if not self._ask_again(response, missing, elsewhere=late):
                    role = missing.value
                    self._end(response, Status.FAILED, code=f"{role}_timeout", message=f"{role}: {late}")
            else:
                self._go_on(response)
