"""What must hold of the commands of any session, checked one by one as they come."""

from enum import Enum
from itertools import pairwise

from gateway.core import commands as do
from gateway.core.conversation import Message
from gateway.core.input import BACK_MS, IN_FLIGHT_MS
from gateway.core.response import Status

STOPPED = (Status.CANCELLED, Status.FAILED)


class Ledger:
    """Keeps the commands of one session and asserts that each is allowed after those before it."""

    def __init__(self) -> None:
        self.commands: list[do.Command] = []
        self.hearing = HearingLedger()
        self.turns = TurnLedger()
        self.responses = ResponseLedger()
        self.closed = False

    def take(self, commands: list[do.Command]) -> None:
        """Check what one event led to."""
        for command in commands:
            assert not self.closed, f"{command} after the session was closed"
            self.commands.append(command)
            self._check(command)
        for command, following in pairwise(commands):
            if isinstance(command, do.ResponseStartedNotice):
                assert isinstance(following, do.Respond)
        for command in commands:
            if isinstance(command, do.ResponseDoneNotice) and command.status is Status.CANCELLED:
                assert self.responses.interrupted or self.closed, "cancelled without a word"

    def _check(self, command: do.Command) -> None:
        match command:
            case do.OpenInput() | do.CloseInput() | do.InputLostNotice() | do.SendAudio():
                self.hearing.check(command, self.turns.newest)
                if isinstance(command, do.OpenInput):
                    assert command.in_turn is (self.turns.speaking is not None)
            case do.SpeechStartedNotice() | do.SpeechStoppedNotice() | do.PartialTranscriptNotice():
                self.turns.check(command)
            case do.TranscriptNotice() | do.TurnFailedNotice():
                self.turns.check_end(command)
            case do.CloseSession():
                assert self.responses.active is None
                self.closed = True
            case do.RecogniseAgain():
                self.turns.check_again(command)
            case do.CancelTurn() | do.Disconnect():
                pass
            case do.ResponseStartedNotice():
                assert self.turns.speaking is None, "an answer while the user speaks"
                self.responses.check_start(command)
            case _:
                self.responses.check(command)


class HearingLedger:
    """The audio to the vad has no holes and nothing twice; a place is lost only once."""

    def __init__(self) -> None:
        self.open = False
        self._at_sample = 0

    def check(
        self, command: do.OpenInput | do.CloseInput | do.InputLostNotice | do.SendAudio, newest_turn: int
    ) -> None:
        """Check what goes to the vad."""
        match command:
            case do.OpenInput():
                # Another vad may take over at any time, and hears again what the last may have been busy with.
                assert command.first_turn_id == newest_turn + (not command.in_turn)
                assert self._at_sample - BACK_MS * 16 - IN_FLIGHT_MS * 16 - 2 * BACK_MS * 16 <= command.at_sample
                assert command.at_sample <= self._at_sample
                self._at_sample = command.at_sample
                self.open = True
            case do.CloseInput():
                assert self.open
            case do.InputLostNotice():
                assert self.open
                self.open = False
            case do.SendAudio():
                assert command.pcm
                assert command.at_sample == self._at_sample, "a gap in the audio, or audio sent twice"
                self._at_sample += len(command.pcm) // 2


class TurnLedger:
    """Starts and stops alternate; every turn has one end, and nothing of it comes after."""

    def __init__(self) -> None:
        self.newest = 0
        self.speaking: int | None = None
        self._over: set[int] = set()
        self._again: dict[int, int] = {}

    def check(self, command: do.SpeechStartedNotice | do.SpeechStoppedNotice | do.PartialTranscriptNotice) -> None:
        """Check what the client hears of a turn that goes on."""
        match command:
            case do.SpeechStartedNotice():
                assert self.speaking is None, "speech started twice"
                assert command.turn_id > self.newest
                self.newest = self.speaking = command.turn_id
            case do.SpeechStoppedNotice():
                assert self.speaking == command.turn_id, "a stop without its start"
                self.speaking = None
            case do.PartialTranscriptNotice():
                assert command.turn_id <= self.newest
                assert command.turn_id not in self._over, "a partial after the end"

    def check_again(self, command: do.RecogniseAgain) -> None:
        """Check a turn that is sent to another recogniser."""
        assert command.turn_id <= self.newest
        assert command.turn_id != self.speaking, "sent again before it was over"
        assert command.turn_id not in self._over, "sent again when its end was known"
        self._again[command.turn_id] = self._again.get(command.turn_id, 0) + 1

    def check_end(self, command: do.TranscriptNotice | do.TurnFailedNotice) -> None:
        """Check a turn's end."""
        assert command.turn_id <= self.newest
        assert command.turn_id not in self._over, "a turn ended twice"
        self._over.add(command.turn_id)


class Stage(Enum):
    """How far the commands of a response have come."""

    STARTED = 1
    ASKED = 2
    OVER_AT_SERVICES = 3
    PLAY_ENDED = 4


class ResponseLedger:
    """One response at a time, each with one end; nothing of it before its start or after its end."""

    def __init__(self) -> None:
        self.active: str | None = None
        self.statuses: dict[str, Status] = {}
        self.messages: tuple[Message, ...] = ()
        self.interrupted = False
        self._stage = Stage.STARTED
        self._stopped = False
        self._told = False
        self._generation = 0
        self._granted_ms = 0

    def check_start(self, command: do.ResponseStartedNotice) -> None:
        """Check a start."""
        assert self.active is None, "two responses at once"
        assert command.response_id not in self.statuses, "a response begins twice"
        self.active = command.response_id
        self._stage = Stage.STARTED
        self.interrupted = self._stopped = self._told = False

    def check(self, command: do.Command) -> None:
        """Check anything else that belongs to a response."""
        response_id = getattr(command, "response_id", None)
        assert response_id is not None, f"{command} is not checked"
        assert response_id == self.active, f"{command} of a response that is not active"
        match command:
            case do.Respond():
                self._check_request(command)
            case do.AskAgain():
                assert self._stage is Stage.ASKED
                assert not self._told, "asked again though some of it was heard or read"
                assert not self.interrupted
                assert command.request.generation > self._generation
                self._generation = command.request.generation
                self._stage = Stage.STARTED
                self._check_request(command.request)
            case do.Play() | do.TextNotice() | do.Grant() | do.InterruptNotice():
                assert self._stage is Stage.ASKED, f"{command} while {self._stage}"
                assert not self.interrupted, f"{command} after the interruption"
                self._check_progress(command)
            case do.CancelResponse() | do.EndResponse():
                self._check_over(command)
            case do.PlayEnded():
                assert self._stage is Stage.OVER_AT_SERVICES
                assert command.stopped is self._stopped
                self._stage = Stage.PLAY_ENDED
            case do.ResponseDoneNotice():
                self._check_end(command)

    def _check_request(self, command: do.Respond) -> None:
        assert self._stage is Stage.STARTED
        assert command.generation == self._generation
        assert command.messages[-1].author == "user"
        self._granted_ms = command.granted_ms
        self.messages = command.messages
        self._stage = Stage.ASKED

    def _check_progress(self, command: do.Command) -> None:
        self._told = self._told or isinstance(command, do.Play | do.TextNotice)
        match command:
            case do.Play():
                assert command.pcm
            case do.Grant():
                assert command.until_ms > self._granted_ms
                self._granted_ms = command.until_ms
            case do.InterruptNotice():
                self.interrupted = True

    def _check_over(self, command: do.CancelResponse | do.EndResponse) -> None:
        assert self._stage is Stage.ASKED
        if isinstance(command, do.CancelResponse):
            assert command.generation > self._generation
            self._generation = command.generation
            self._stopped = True
        self._stage = Stage.OVER_AT_SERVICES

    def _check_end(self, command: do.ResponseDoneNotice) -> None:
        assert self._stage is Stage.PLAY_ENDED
        assert command.status is not Status.IN_PROGRESS
        assert self._stopped is (command.status in STOPPED)
        self.statuses[command.response_id] = command.status
        self.active = None
