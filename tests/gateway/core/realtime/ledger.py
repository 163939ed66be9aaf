"""What must hold of the commands of any Realtime session, checked one by one as they come."""

from dataclasses import dataclass, field

from gateway.core.realtime import commands as do
from gateway.core.realtime import notices as tell
from gateway.core.realtime.items import Item
from gateway.core.response import Status

MOST_ID = 32


@dataclass
class ToldItem:
    """An item of a response, as the client was told of it."""

    item: Item
    added: bool = False
    """To the conversation."""
    part: bool = False
    text: str = ""
    steps: list[str] = field(default_factory=list)
    done: bool = False


@dataclass
class ToldResponse:
    """A response, as the client was told of it."""

    in_conversation: bool
    items: list[ToldItem] = field(default_factory=list)
    asked: bool = False
    over_at_services: bool = False
    cancelled: bool = False
    granted_ms: int = 0
    done: bool = False


class Ledger:
    """Keeps the commands of one session and asserts that each is allowed after those before it."""

    def __init__(self) -> None:
        self.commands: list[do.Command] = []
        self.responses: dict[str, ToldResponse] = {}
        self.order: list[str] = []
        """The ids of the conversation's items, as a client keeps them."""
        self.speaking: str | None = None
        self.owed: dict[str, bool] = {}
        """Items that are committed and may still get a transcript."""
        self.closed = False
        self.input_open = False
        self.at_sample = 0
        self.generation = 0
        self.recognised_again: dict[int, int] = {}
        self.refusals: dict[int, int] = {}
        self._committed: str | None = None
        self._unfinished: dict[str, str | None] = {}

    @property
    def active(self) -> str | None:
        """The response that writes to the conversation."""
        running = [r for r, told in self.responses.items() if told.in_conversation and not told.done]
        assert len(running) <= 1, "two responses in the conversation"
        return running[0] if running else None

    @property
    def running(self) -> list[str]:
        """All responses under way."""
        return [r for r, told in self.responses.items() if not told.done]

    def take(self, commands: list[do.Command]) -> None:
        """Check what one event led to."""
        for command in commands:
            assert not self.closed, f"{command} after the session was closed"
            self.commands.append(command)
            self._check(command)
        assert self._committed is None, "committed, but no item"

    def _check(self, command: do.Command) -> None:
        if self._committed is not None:
            assert isinstance(command, tell.ItemAdded), f"{command} between committed and its item"
        match command:
            case do.OpenInput() | do.CloseInput() | do.SendAudio() | do.CommitAudio() | do.ClearAudio():
                self._check_input(command)
            case do.CloseSession() | tell.SessionOver():
                assert not self.running
                self.closed = isinstance(command, do.CloseSession)
            case do.UpdateInput() | do.CancelTurn() | do.Disconnect() | tell.Rejected() | tell.SessionUpdated():
                pass
            case do.RecogniseAgain():
                self._check_turn(command)
            case do.Respond() | do.AskAgain() | do.Grant() | do.CancelResponse() | do.EndResponse():
                self._check_services(command)
            case _:
                self._check_notice(command)

    def _check_input(
        self, command: do.OpenInput | do.CloseInput | do.SendAudio | do.CommitAudio | do.ClearAudio
    ) -> None:
        match command:
            case do.OpenInput():
                assert command.at_sample <= self.at_sample, "a hole in the audio"  # another vad hears a little again
                self.input_open, self.at_sample = True, command.at_sample
            case do.CloseInput():
                assert self.input_open
                self.input_open = False
            case do.SendAudio():
                assert command.pcm
                assert command.at_sample == self.at_sample, "a gap in the audio, or audio sent twice"
                self.at_sample += len(command.pcm) // 2
            case _:
                assert 0 < command.at_sample <= self.at_sample or not self.input_open

    def _check_notice(self, command: do.Command) -> None:
        match command:
            case tell.SpeechStarted() | tell.SpeechStopped() | tell.Committed() | tell.Cleared():
                self._check_speech(command)
            case tell.TimeoutTriggered():
                assert self.speaking is None
                assert self.active is None
                assert command.audio_start_ms <= command.audio_end_ms
            case tell.TranscriptionDelta() | tell.TranscriptionCompleted() | tell.TranscriptionFailed():
                self._check_transcription(command)
            case tell.ItemAdded() | tell.ItemDone() | tell.ItemRetrieved() | tell.ItemDeleted() | tell.ItemTruncated():
                self._check_item(command)
            case tell.ResponseCreated():
                self._check_created(command.response)
            case tell.ResponseDone():
                self._check_done(command.response)
            case _:
                self._check_output(command)

    # -- the user -----------------------------------------------------------------------------------------------------

    def _check_speech(self, command: tell.SpeechStarted | tell.SpeechStopped | tell.Committed | tell.Cleared) -> None:
        match command:
            case tell.SpeechStarted():
                assert self.speaking is None, "speech started twice"
                assert command.audio_start_ms >= 0
                self.speaking = command.item_id
            case tell.SpeechStopped():
                assert self.speaking == command.item_id, "a stop without its start"
            case tell.Committed():
                assert self.speaking in (None, command.item_id)
                assert command.previous_item_id == (self.order[-1] if self.order else None)
                self.speaking = None
                self._committed = command.item_id
                self.owed[command.item_id] = True
            case tell.Cleared():
                self.speaking = None

    def stops_detecting(self) -> None:
        """Note that the client switched turn detection off: what was spoken has no stop."""
        self.speaking = None

    def forget_all_but(self, kept: set[str]) -> None:
        """Note which items the session still has: it forgets the oldest if they are too many."""
        self.order = [item_id for item_id in self.order if item_id in kept]

    def _check_transcription(
        self, command: tell.TranscriptionDelta | tell.TranscriptionCompleted | tell.TranscriptionFailed
    ) -> None:
        assert self.owed.get(command.item_id), f"{command} of an item that is not committed, or has its text"
        if not isinstance(command, tell.TranscriptionDelta):
            self.owed[command.item_id] = False
        else:
            assert command.delta

    # -- items --------------------------------------------------------------------------------------------------------

    def _check_item(
        self,
        command: tell.ItemAdded | tell.ItemDone | tell.ItemRetrieved | tell.ItemDeleted | tell.ItemTruncated,
    ) -> None:
        match command:
            case tell.ItemAdded():
                self._check_added(command)
            case tell.ItemDone():
                item_id = command.item.id
                assert item_id in self._unfinished, "done, but not added"
                assert command.previous_item_id == self._unfinished.pop(item_id)
                assert command.item.status in ("completed", "incomplete")
                self._step_of(item_id, "item done")
            case tell.ItemRetrieved():
                assert command.item.id in self.order
            case tell.ItemDeleted():
                assert command.item_id not in self._unfinished, "deleted while it is made"
                self.order.remove(command.item_id)
            case tell.ItemTruncated():
                assert command.item_id in self.order

    def _check_added(self, command: tell.ItemAdded) -> None:
        item_id, previous = command.item.id, command.previous_item_id
        if self._committed is not None:
            assert item_id == self._committed
            self._committed = None
        assert 0 < len(item_id) <= MOST_ID
        assert item_id not in self.order, "an id twice"
        assert previous is None or previous in self.order, "after an item that nobody knows"
        self.order.insert(0 if previous is None else self.order.index(previous) + 1, item_id)
        self._unfinished[item_id] = previous
        for told in self.responses.values():
            for made in told.items:
                if made.item.id == item_id:
                    assert told.in_conversation
                    assert made.steps == ["added"]
                    assert command.item.status == "in_progress"
                    made.added = True

    def _step_of(self, item_id: str, step: str) -> None:
        for told in self.responses.values():
            for made in told.items:
                if made.item.id == item_id:
                    made.steps.append(step)

    # -- the agent ----------------------------------------------------------------------------------------------------

    def _check_created(self, view: tell.ResponseView) -> None:
        assert view.id not in self.responses
        assert len(view.id) <= MOST_ID
        assert (view.status, view.output, view.usage) == (Status.IN_PROGRESS, (), None)
        in_conversation = view.conversation_id is not None
        assert not in_conversation or self.active is None, "two responses in the conversation"
        self.responses[view.id] = ToldResponse(in_conversation)

    def _running(self, response_id: str) -> ToldResponse:
        told = self.responses[response_id]
        assert not told.done, "after response.done"
        return told

    def _check_turn(self, command: do.RecogniseAgain) -> None:
        tries = self.recognised_again[command.turn_id] = self.recognised_again.get(command.turn_id, 0) + 1
        refusals = self.refusals.get(command.turn_id, 0)
        assert tries <= 2 + refusals, "tried again and again"  # a vad that was lost, a failure
        assert command.at_sample * 2 + len(command.pcm) <= self.at_sample * 2

    def _check_services(
        self, command: do.Respond | do.AskAgain | do.Grant | do.CancelResponse | do.EndResponse
    ) -> None:
        told = self._running(command.response_id)
        assert not told.over_at_services
        match command:
            case do.Respond():
                assert not told.asked, "asked twice"
                told.asked = True
                told.granted_ms = command.granted_ms
            case do.AskAgain():
                assert told.asked
                assert not told.items, "asked again though the client has some of it"
                assert command.request.generation == self.generation + 1
                self.generation += 1
                told.granted_ms = command.request.granted_ms
            case do.Grant():
                assert command.until_ms > told.granted_ms
                told.granted_ms = command.until_ms
            case do.CancelResponse():
                assert command.generation == self.generation + 1
                self.generation += 1
                told.cancelled = told.over_at_services = True
            case do.EndResponse():
                told.over_at_services = True
        assert told.asked

    def _check_output(self, command: do.Command) -> None:
        """Check an event of an item of a response: what G3, G5, G6 and G12 say."""
        response_id = getattr(command, "response_id", None)
        index = getattr(command, "output_index", None)
        assert isinstance(response_id, str), f"{command} is not checked"
        assert isinstance(index, int)
        told = self._running(response_id)
        if isinstance(command, tell.OutputItemAdded):
            assert index == len(told.items), "indexes grow by one"
            assert all(made.done for made in told.items), "the item before is not done"
            assert command.item.status == "in_progress"
            assert not told.cancelled
            told.items.append(ToldItem(command.item, steps=["added"]))
            return
        made = told.items[index]
        assert index == len(told.items) - 1
        assert not made.done
        assert made.added is told.in_conversation
        if not isinstance(command, tell.OutputItemDone):
            assert getattr(command, "item_id", None) == made.item.id
        match command:
            case tell.PartAdded():
                assert made.steps == ["added"]
                made.part = True
            case tell.TextDelta() | tell.AudioDelta() | tell.ArgumentsDelta():
                assert not told.over_at_services, "a delta after the cancel"
                assert made.steps == ["added"]
                assert made.part is (made.item.type == "message")
                if not isinstance(command, tell.AudioDelta):
                    assert command.delta
                    made.text += command.delta
                else:
                    assert command.audio
            case tell.AudioDone():
                assert made.steps == ["added"]
                made.steps.append("audio done")
            case tell.TextDone() | tell.PartDone() | tell.ArgumentsDone():
                text = command.arguments if isinstance(command, tell.ArgumentsDone) else command.text
                assert text == made.text, "the pieces are not the whole"
                made.steps.append(type(command).__name__)
            case tell.OutputItemDone():
                self._check_closed(made, command)

    def _check_closed(self, made: ToldItem, command: tell.OutputItemDone) -> None:
        spoken = made.part and "audio done" in made.steps
        steps = ["added"]
        if made.item.type == "message":
            steps += (["audio done"] if spoken else []) + ["TextDone", "PartDone"]
        else:
            steps += ["ArgumentsDone"]
        steps += ["item done"] if made.added else []
        assert made.steps == steps
        assert command.item.status in ("completed", "incomplete")
        made.item = command.item
        made.done = True

    def _check_done(self, view: tell.ResponseView) -> None:
        told = self._running(view.id)
        assert all(made.done for made in told.items), "something is open"
        assert told.asked is told.over_at_services
        assert view.status is not Status.IN_PROGRESS
        assert view.usage is not None
        assert [item.id for item in view.output] == [made.item.id for made in told.items]
        match view.status:
            case Status.CANCELLED:
                assert view.reason in ("turn_detected", "client_cancelled")
            case Status.INCOMPLETE:
                assert view.reason in ("max_output_tokens", "content_filter")
            case Status.FAILED:
                assert view.error_code
                assert view.error_message
        if view.status is Status.COMPLETED:
            assert all(item.status == "completed" for item in view.output)
            assert not told.cancelled
        told.done = True
