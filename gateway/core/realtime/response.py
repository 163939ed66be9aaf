"""One response: its items, opened and closed in the order that clients rely on.

Items go out one after another: what the model sends of a later one waits until those before it are closed. So a call
waits for the speech that announces it. Everything opened is closed before the response ends, whatever ends it. A spoken
message is opened with its first audio: until then the answer may be made again by other services.

A message of speech is closed when the llm has no more text and the tts no more audio; one of text when the llm has no
more of it, or goes on to a call.
"""

from dataclasses import dataclass, field
from typing import Final

from gateway.core.errors import IllegalTransitionError
from gateway.core.realtime import notices as tell
from gateway.core.realtime.commands import Respond
from gateway.core.realtime.config import ResponseConfig
from gateway.core.realtime.conversation import Conversation, Entry
from gateway.core.realtime.events import GenerationDone, SpeechReceived, ToolCallDelta
from gateway.core.realtime.items import Item, ItemStatus, Part
from gateway.core.realtime.scene import Scene
from gateway.core.response import TRANSITIONS, Status

# Usage counts audio by its length (the protocol's scale): one token for so many ms.
USER_MS_OF_TOKEN: Final = 100
ASSISTANT_MS_OF_TOKEN: Final = 50


@dataclass(slots=True)
class Output:
    """An item of a response. What came of it before its turn waits in *waiting* and *audio*."""

    entry: Entry
    index: int
    model_call_id: str = ""
    text: str = ""
    """Of a message its text, of a call its arguments."""
    waiting: str = ""
    audio: list[tuple[bytes, str]] = field(default_factory=list)
    complete: bool = False
    opened: bool = False
    closed: bool = False
    previous: str | None = None


@dataclass(slots=True, eq=False)
class Response:
    """A response from its creation to its one end. *context* are the items that it answers."""

    id: str
    config: ResponseConfig
    conversation: Conversation | None
    """Where its items go; None out of band."""
    context: tuple[Entry, ...]
    trigger: Entry | None = None
    """The user's item that it follows of itself; None if the client asked for it."""
    status: Status = Status.IN_PROGRESS
    asked: bool = False
    """Whether the services work on it."""
    outputs: list[Output] = field(default_factory=list)
    text_complete: bool = False
    speech_complete: bool = False
    generation: GenerationDone | None = None
    due_ms: float = 0.0
    granted_ms: int = 0
    failures: int = 0
    request: Respond | None = None
    """As it was last made."""
    audio_ms: float = 0.0
    first_audio_at_ms: float | None = None

    @property
    def speaks(self) -> bool:
        """Whether it is spoken."""
        return self.config.modality == "audio"

    @property
    def ready(self) -> bool:
        """Whether it can be asked of the services now: the texts of what it answers are known."""
        return not self.asked and not any(entry.pending for entry in self.context)

    @property
    def cut_off(self) -> bool:
        """Whether a limit ended it."""
        return self.generation is not None and self.generation.reason in ("max_output_tokens", "content_filter")

    @property
    def all_received(self) -> bool:
        """Whether the services have sent all of it. Where there is no text there is no speech to wait for."""
        silent = not self.speaks or not any(output.entry.item.type == "message" for output in self.outputs)
        return self.text_complete and (silent or self.speech_complete)

    @property
    def told(self) -> bool:
        """Whether the client has any of it. Until then it may be asked for again."""
        return any(output.opened for output in self.outputs)

    def begin_again(self) -> None:
        """Forget what the services have sent."""
        self.outputs.clear()
        self.text_complete = self.speech_complete = False
        self.generation = None
        self.audio_ms = 0.0

    # -- what the services send ---------------------------------------------------------------------------------------

    def add_text(self, scene: Scene, text: str) -> None:
        """Take text of the llm."""
        self._message(scene).waiting += text
        self.advance(scene)

    def add_speech(self, scene: Scene, event: SpeechReceived) -> None:
        """Take audio of the tts."""
        self.audio_ms += self.config.output_format.ms(len(event.audio))
        self._message(scene).audio.append((event.audio, event.text))
        self.advance(scene)

    def add_call(self, scene: Scene, event: ToolCallDelta) -> None:
        """Take a piece of a call. What follows the end of a call is dropped."""
        call = next((output for output in self.outputs if output.model_call_id == event.call_id), None)
        if call is None:
            item = Item(scene.new_id("item"), "function_call", status="in_progress")
            item.call_id = scene.new_id("call")
            item.name = event.name
            call = Output(Entry(item), len(self.outputs), model_call_id=event.call_id)
            self.outputs.append(call)
        if not call.complete:
            call.waiting += event.arguments
            call.complete = event.complete
        self.advance(scene)

    def _message(self, scene: Scene) -> Output:
        """Return the message that is being made: the only one, if it is spoken."""
        messages = [output for output in self.outputs if output.entry.item.type == "message"]
        if messages and (self.speaks or messages[-1] is self.outputs[-1]):
            return messages[-1]
        item = Item(scene.new_id("item"), "message", "assistant", status="in_progress")
        output = Output(Entry(item, format=self.config.output_format), len(self.outputs))
        self.outputs.append(output)
        return output

    # -- what the client gets -----------------------------------------------------------------------------------------

    def advance(self, scene: Scene) -> None:
        """Send what is due of each item in its turn."""
        for output in self.outputs:
            if output.closed:
                continue
            if not output.opened:
                if self._is_unheard(output):
                    return
                self._open(scene, output)
            self._send(scene, output)
            if not self._is_complete(output):
                return
            last = output is self.outputs[-1]
            self._close(scene, output, "incomplete" if last and self._is_cut(output) else "completed")

    def _is_unheard(self, output: Output) -> bool:
        """Tell whether a spoken message waits for its first audio: until then it may be asked for again."""
        spoken = self.speaks and output.entry.item.type == "message"
        return spoken and not self._is_complete(output) and not any(audio for audio, _ in output.audio)

    def _is_complete(self, output: Output) -> bool:
        if output.entry.item.type == "function_call":
            return output.complete or self.text_complete
        if self.speaks:
            return self.text_complete and self.speech_complete
        return self.text_complete or output is not self.outputs[-1]

    def _is_cut(self, output: Output) -> bool:
        return self.cut_off and not output.complete

    def _open(self, scene: Scene, output: Output) -> None:
        output.opened = True
        entry = output.entry
        item = entry.item
        added = tell.OutputItemAdded(self.id, output.index, entry.view())
        scene.say(added)
        if self.conversation is not None:
            output.previous = self.conversation.add(entry)
            scene.say(tell.ItemAdded(added.item, output.previous))
        if item.type == "message":
            item.parts.append(Part("output_audio" if self.speaks else "output_text", text=""))
            scene.say(tell.PartAdded(self.id, item.id, output.index, self.config.modality))

    def _send(self, scene: Scene, output: Output) -> None:
        text, output.waiting = output.waiting, ""
        output.text += text
        item = output.entry.item
        if item.type == "function_call":
            item.arguments = output.text
            if text:
                scene.say(tell.ArgumentsDelta(self.id, item.id, output.index, item.call_id, text))
            return
        if text:
            if not output.entry.truncated:
                item.parts[0].text = output.entry.heard = output.text
            scene.say(tell.TextDelta(self.id, item.id, output.index, self.config.modality, text))
        audio, output.audio = output.audio, []
        for piece, clause in audio:
            self._speak(scene, output, piece, clause)

    def _speak(self, scene: Scene, output: Output, audio: bytes, clause: str) -> None:
        entry = output.entry
        entry.spoken.begin(clause, entry.produced_ms)
        if not audio:
            return
        entry.produced_ms += self.config.output_format.ms(len(audio))
        entry.spoken.reach(entry.produced_ms)
        if not entry.truncated:
            entry.item.parts[0].audio_ms = entry.produced_ms
            if self.conversation is not None and not entry.deleted:
                entry.audio += audio
                self.conversation.keep(entry, len(audio))
        if self.first_audio_at_ms is None:
            self.first_audio_at_ms = scene.now_ms
        scene.say(tell.AudioDelta(self.id, entry.item.id, output.index, audio))

    def _close(self, scene: Scene, output: Output, status: ItemStatus) -> None:
        output.closed = True
        item, index = output.entry.item, output.index
        item.status = status
        if item.type == "function_call":
            scene.say(tell.ArgumentsDone(self.id, item.id, index, item.call_id, item.name, item.arguments))
        else:
            modality = self.config.modality
            if self.speaks:
                scene.say(tell.AudioDone(self.id, item.id, index))
            scene.say(
                tell.TextDone(self.id, item.id, index, modality, output.text),
                tell.PartDone(self.id, item.id, index, modality, output.text),
            )
        view = output.entry.view()
        if self.conversation is not None:
            scene.say(tell.ItemDone(view, output.previous))
        scene.say(tell.OutputItemDone(self.id, index, view))

    # -- its end ------------------------------------------------------------------------------------------------------

    def close(self, scene: Scene, status: Status) -> None:
        """Close what is open.

        Raises:
            IllegalTransitionError: it has ended before, or *status* is no end.
        """
        if status not in TRANSITIONS[self.status]:
            raise IllegalTransitionError(f"{self.status.value} to {status.value}")
        self.status = status
        for output in self.outputs:
            if output.opened and not output.closed:
                self._close(scene, output, "incomplete")

    def view(self, conversation_id: str, *, reason: str = "", code: str = "", message: str = "") -> tell.ResponseView:
        """Return the response as clients see it; *conversation_id* is that of the default conversation."""
        return tell.ResponseView(
            id=self.id,
            status=self.status,
            config=self.config,
            conversation_id=None if self.conversation is None else conversation_id,
            output=tuple(output.entry.view() for output in self.outputs if output.opened),
            usage=None if self.status is Status.IN_PROGRESS else self._usage(),
            reason=reason,
            error_code=code,
            error_message=message,
        )

    def _usage(self) -> tell.Usage:
        """Count tokens. Of an answer that was stopped only the audio is known."""
        spoken = int(self.audio_ms) // ASSISTANT_MS_OF_TOKEN
        done = self.generation
        if done is None:
            return tell.Usage(output_audio=spoken)
        heard_ms = sum(
            part.audio_ms for entry in self.context for part in entry.item.parts if part.type == "input_audio"
        )
        return tell.Usage(
            input_text=done.input_tokens,
            input_audio=int(heard_ms) // USER_MS_OF_TOKEN,
            cached=done.cached_tokens,
            output_text=done.output_tokens,
            output_audio=spoken,
        )
