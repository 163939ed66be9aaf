"""What a client hears of one conversation: gathers audio and events, tells what happened and when all is said.

No I/O: items come in, lines for a timeline go out. Times are the event loop's, in seconds.
"""

import bisect
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from launcher import recording
from launcher.client import BYTES_PER_MS, Audio, Event

# Events that belong together come together; when so long nothing came, nothing more belongs to what came.
SETTLED_S: Final = 0.5
# Without events, so much quiet after audio is its end. The suite paces audio: within an answer there are no such gaps.
QUIET_S: Final = 1.0
# Audio that comes sooner after the end of the speech cannot answer it: the turn is not over before.
TOO_SOON_S: Final = 0.3
# Unless nothing else comes for so long: then it was an answer to what was said before a pause.
NOTHING_ELSE_S: Final = 3.0

# At what time (seconds since the beginning), what kind of thing, and what about it.
Show = Callable[[float, str, str], None]


@dataclass
class Outcome:
    """What became of one recording."""

    heard: str = ""
    answer: str = ""
    own_latency_ms: float | None = None
    """From the end of the turn to the first byte of the answer, without the wait for silence. As the suite tells."""
    waterfall_ms: dict[str, float] = field(default_factory=dict)
    first_audio_ms: float | None = None
    """From the end of the speech to the first audio, as heard here."""
    answer_s: float = 0.0
    turns: int = 0
    completed: int = 0
    cancelled: int = 0
    failures: list[str] = field(default_factory=list)


class Exchange:
    """Follows one connection, which began at *begun_s*.

    *events*: whether it brings events; without them only audio is known. *sounds_ms*: where in the recording there is
    sound (`recording.sounds_end_ms`). *pace*: how many times faster than real time it is sent. *keep_audio*: whether
    `pcm` is to grow with every answer.
    """

    def __init__(
        self,
        show: Show,
        *,
        events: bool,
        begun_s: float,
        sounds_ms: list[float],
        pace: float = 1.0,
        keep_audio: bool = True,
    ) -> None:
        self.outcome = Outcome()
        self.pcm = bytearray()
        self._show = show
        self._events = events
        self._keep_audio = keep_audio
        self._begun_s = begun_s
        self._sounds_ms = sounds_ms
        self._real_time = pace == 1.0
        self._heard: dict[int, str] = {}
        self._last_s = begun_s
        self._spoken_until_s = math.inf
        self._speech_ended_s = begun_s + (sounds_ms[-1] if sounds_ms else 0.0) / 1000 / pace
        self._awaits_audio = True
        self._speaking = False
        self._untold: set[int] = set()
        self._answering = ""
        self._text = ""
        self._ends = 0
        self._receivers: dict[str, Callable[[dict[str, Any]], None]] = {
            "speech_started": self._speech_started,
            "speech_stopped": self._speech_stopped,
            "partial_transcript": lambda told: self._line("partial", _quoted(told["text"])),
            "transcript": self._transcript,
            "turn_failed": self._turn_failed,
            "response_started": self._response_started,
            "response_text": self._response_text,
            "interrupt": lambda told: self._line("interrupted", f"after {told['heard_ms'] / 1000:.1f} s of the answer"),
            "latency": self._latency,
            "response_done": self._response_done,
            "input_lost": lambda told: self._line("not heard", told["message"]),
            "error": lambda told: self._line("error", told["message"]),
        }

    def spoken(self, now_s: float) -> None:
        """Say that the recording has been sent."""
        self._spoken_until_s = now_s

    def take(self, item: Audio | Event) -> None:
        """Take what the client received."""
        self._last_s = item.at_s
        if isinstance(item, Event):
            if item.kind in self._receivers:
                self._receivers[item.kind](item.fields)
            return
        if self._keep_audio:
            self.pcm += item.pcm
        answers = self._events or item.at_s > self._speech_ended_s + TOO_SOON_S
        if self._awaits_audio and answers:
            self._awaits_audio = False
            waited_s = item.at_s - self._speech_ended_s
            if self._real_time and waited_s > 0:
                self.outcome.first_audio_ms = round(waited_s * 1000, 1)
                self._line("audio", f"{waited_s:.2f} s after the end of the speech")
            else:
                self._line("audio", "")

    def over(self, now_s: float, patience_s: float) -> bool:
        """Tell whether everything that was said is answered, or nothing came for *patience_s*."""
        if now_s < self._spoken_until_s:
            return False
        quiet_s = now_s - max(self._last_s, self._spoken_until_s)
        if quiet_s > patience_s:
            return True
        if not self._events and self.pcm:
            return quiet_s > NOTHING_ELSE_S if self._awaits_audio else now_s - self._last_s > QUIET_S
        settled = self._ends > 0 and not (self._speaking or self._untold or self._answering)
        return settled and quiet_s > SETTLED_S

    def finish(self) -> Outcome:
        """Return what became of it."""
        if not self._events:
            self.outcome.answer_s = len(self.pcm) / BYTES_PER_MS / 1000
        self.outcome.answer_s = round(self.outcome.answer_s, 2)
        return self.outcome

    @property
    def answered(self) -> bool:
        """Whether an answer was heard to its end."""
        whole = self.outcome.completed > 0 if self._events else not self.outcome.failures
        return whole and recording.audible(bytes(self.pcm))

    # -- events -------------------------------------------------------------------------------------------------------

    def _speech_started(self, told: dict[str, Any]) -> None:
        self._speaking = True
        self.outcome.turns += 1
        self._untold.add(told["turn_id"])
        self._line("speech", f"started at {told['at_ms'] / 1000:.2f} s")

    def _speech_stopped(self, told: dict[str, Any]) -> None:
        # The turn's audio ends with the silence that showed that it is over; what is waited for began before it.
        self._speaking = False
        sounds = self._sounds_ms[: bisect.bisect_right(self._sounds_ms, told["at_ms"])]
        self._speech_ended_s = self._begun_s + (sounds[-1] if sounds else told["at_ms"]) / 1000
        self._line("speech", f"stopped at {told['at_ms'] / 1000:.2f} s")

    def _transcript(self, told: dict[str, Any]) -> None:
        self._untold.discard(told["turn_id"])
        self._ends += not told["text"].strip()  # nothing was understood: no answer will come
        self._heard[told["turn_id"]] = told["text"].strip()
        self.outcome.heard = " ".join(text for _, text in sorted(self._heard.items()) if text)
        self._line("heard", _quoted(told["text"]))

    def _turn_failed(self, told: dict[str, Any]) -> None:
        self._untold.discard(told["turn_id"])
        self._ends += 1
        self._failed(told["message"])

    def _response_started(self, told: dict[str, Any]) -> None:
        self._answering = told["response_id"]
        self._awaits_audio = True
        self._text = ""

    def _response_text(self, told: dict[str, Any]) -> None:
        self._text += told["text"]

    def _latency(self, told: dict[str, Any]) -> None:
        stages = dict(told["ms"])
        self.outcome.waterfall_ms = stages
        total = stages.pop("total", None)
        if total is not None:
            self.outcome.own_latency_ms = total
            parts = " + ".join(f"{name} {ms:.1f}" for name, ms in stages.items())
            self._line("latency", f"{total:.1f} ms = {parts}")

    def _response_done(self, told: dict[str, Any]) -> None:
        self._answering = ""
        match told["status"]:
            case "cancelled":
                self.outcome.cancelled += 1
                if told["text"]:
                    self._line("said", _quoted(told["text"]) + " - then it was interrupted")
                return
            case "failed":
                self._failed(told["message"])
            case _:
                self.outcome.completed += 1
                self.outcome.answer = f"{self.outcome.answer} {self._text}".strip()
                self.outcome.answer_s += told["audio_ms"] / 1000
                self._line("answer", f"{_quoted(self._text)} ({told['audio_ms'] / 1000:.1f} s)")
        self._ends += 1

    def _failed(self, message: str) -> None:
        self.outcome.failures.append(message)
        self._line("failed", message)

    def _line(self, kind: str, text: str) -> None:
        self._show(self._last_s - self._begun_s, kind, text)


def _quoted(text: str) -> str:
    return f'"{text.strip()}"'
