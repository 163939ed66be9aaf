"""The llm alone: a request whenever somebody has spoken. `latency` counts to the first piece of the answer."""

from typing import Final

from bus.frames import Frame
from launcher.load.schedule import Turn
from launcher.load.stages.response import Asked, ResponseSession
from launcher.load.stages.session import UNEXPECTED, stamps_of
from proto.v1 import speech_pb2 as pb

INSTRUCTIONS: Final = "You are a helpful voice assistant. Answer in one or two short sentences."
# An answer of about a hundred words: half a minute of speech, more than anybody listens to.
MOST_TOKENS: Final = 160
# Recordings come without their text.
QUESTION: Final = "What can you tell me about the sea?"

IN_ORDER: Final = "text deltas are counted from 0, each once"
COUNTED: Final = "generation_done tells how many deltas there were"


class LlmAsked(Asked):
    """A response and its text."""

    deltas = 0
    previous_ms = 0.0


class LlmSession(ResponseSession):
    """One conversation; each request stands alone, so that all are of one size."""

    role = pb.LLM

    def new(self, number: int, due_ms: float, *, expected: bool) -> Asked:  # noqa: ARG002 - all are alike
        """Return a response of which nothing has come."""
        return LlmAsked(due_ms, self.generation, expected=expected)

    def request(self, response_id: str, asked: Asked, turn: Turn) -> None:
        """Ask what the turn's words say."""
        text = self.line.phrases[turn.phrase].text or QUESTION
        message = pb.Message(author=pb.Message.USER, parts=[pb.Part(text=text)])
        request = pb.GenerationRequest(instructions=INSTRUCTIONS, messages=[message], max_output_tokens=MOST_TOKENS)
        header = self.header(response_id=response_id, generation=asked.generation)
        self.send(header, generation_request=request)

    def piece(self, asked: Asked, body: str, frame: Frame, now_ms: float) -> None:
        """Take text, or the end."""
        assert isinstance(asked, LlmAsked)  # noqa: S101 - `new` makes no other
        match body:
            case "text_delta":
                self._text(asked, frame, now_ms)
            case "tool_call":
                self.first(asked, now_ms)
            case "generation_done":
                self.first(asked, now_ms)
                if frame.generation_done.deltas != asked.deltas:
                    self.findings.breaks(COUNTED, f"{frame.generation_done.deltas}, {asked.deltas} came")
                self.findings.counts["tokens"] += frame.generation_done.usage.output_tokens
                self.end(asked, now_ms)
            case _:
                self.findings.breaks(UNEXPECTED, body)

    def _text(self, asked: LlmAsked, frame: Frame, now_ms: float) -> None:
        if frame.text_delta.seq != asked.deltas:
            self.findings.breaks(IN_ORDER, f"{frame.text_delta.seq}, expected {asked.deltas}")
        if asked.first_ms is None:
            stamps = stamps_of(frame, self.line.clock)
            started, token = stamps.get(pb.Stamp.LLM_STARTED), stamps.get(pb.Stamp.LLM_FIRST_TOKEN)
            if started is not None and token is not None:
                self.findings.time("stage: to model", started - asked.due_ms)
                self.findings.time("stage: first token", token - started)
                self.findings.time("stage: to gateway", now_ms - token)
        else:
            self.findings.time("between_pieces", now_ms - asked.previous_ms)
        self.first(asked, now_ms)
        asked.previous_ms = now_ms
        asked.deltas += 1
