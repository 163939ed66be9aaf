"""What a client of the raw WebSocket may be told, and what it may hear: tones that it has said itself. No I/O.

For a suite whose engines are scripted to name the tones that they hear and to play those that they name (`SCRIPT`).
Every utterance is a tone that is said once, so a tone that was not said here is another session's, one that comes twice
was heard twice, and one that is missing was lost.
"""

import re
from collections import Counter
from typing import Final

import numpy as np

from launcher.client import BYTES_PER_MS, Audio, Event
from services.asr.engines.scripted import WINDOW, tones

# What the scripted engines of the suite have to be told.
SCRIPT: Final = {
    "asr": ["--canary"],
    "llm": ["--reply", "{text}."],
    "tts": ["--ms_per_character", "60"],
}
# Between two tones; the recogniser tells them apart at 40 Hz.
STEP_HZ: Final = 50
LOWEST_HZ: Final = 300
HIGHEST_HZ: Final = 3500
_NUMBER: Final = re.compile(r"\d+")
# A window with less of a tone in it than this is not judged.
_LEAST_SAMPLES: Final = WINDOW // 4
# Rounding of positions, and the half of a sample that is cut in two.
_ROUNDED_MS: Final = 2


def tone(hz: int, seconds: float) -> bytes:
    """Return a sine (16 kHz mono s16le)."""
    at = np.arange(int(16_000 * seconds))
    return bytes((8000 * np.sin(2 * np.pi * hz / 16_000 * at)).astype("<i2").tobytes())


def named(text: str) -> list[int]:
    """Return the tones in Hz that *text* names."""
    return [int(number) for number in _NUMBER.findall(text)]


class Tones:
    """Hands out tones that nobody has said lately: 65, then from the beginning."""

    def __init__(self) -> None:
        self._next = LOWEST_HZ

    def take(self) -> int:
        """Return the next tone in Hz."""
        hz = self._next
        self._next = hz + STEP_HZ if hz < HIGHEST_HZ else LOWEST_HZ
        return hz


class Ledger:
    """Takes what one client says and is told; `broken` lists the promises that were not kept, in words."""

    def __init__(self) -> None:
        self.broken: list[str] = []
        self.counts: Counter[str] = Counter()
        self.said: list[int] = []
        self.understood: Counter[int] = Counter()
        """How often each tone stood in a transcript."""
        self.last_answer: list[int] = []
        """The tones of the last answer that was completed."""
        self._speaking: int | None = None
        self._newest = 0
        self._awaited: set[int] = set()
        self.waiting = 0
        """Tones said since an answer began last."""
        self._unanswered = False
        self._response = ""
        self._responses: set[str] = set()
        self._text = ""
        self._pcm = bytearray()

    def say(self, hz: int) -> None:
        """Note that the client says a tone."""
        self.said.append(hz)
        self.waiting += 1

    @property
    def owed(self) -> str:
        """What has not come to its end yet, in words; empty if everything has."""
        owed = []
        if self._speaking is not None:
            owed.append(f"the end of the speech of turn {self._speaking}")
        if self._awaited:
            owed.append(f"a text of turns {sorted(self._awaited)}")
        if self._unanswered:
            owed.append("an answer")
        if self._response:
            owed.append(f"the end of {self._response}")
        return ", ".join(owed)

    @property
    def answering(self) -> bool:
        """Whether an answer can be heard now."""
        return bool(self._pcm)

    def take(self, item: Audio | Event) -> None:
        """Check what the client got."""
        if isinstance(item, Audio):
            self._hear(item.pcm)
            return
        self.counts[item.kind] += 1
        fields = item.fields
        match item.kind:
            case "speech_started" | "speech_stopped" | "partial_transcript":
                self._speech(item.kind, fields["turn_id"], fields.get("text", ""))
            case "transcript" | "turn_failed":
                self._end_turn(fields)
            case "response_started":
                self._begin_response(fields)
            case "response_text" | "interrupt":
                self._expect(fields["response_id"] == self._response, f"{item.kind} of an answer that is over")
                self._text += fields.get("text", "")
            case "response_done":
                self._end_response(fields)
            case "session" | "latency" | "input_lost":
                pass
            case _:
                self.broken.append(f"the client was told {item.kind}: {fields}")

    def close(self) -> None:
        """Check, at the end of a conversation that was not cut off, that everything said was heard once."""
        self._expect(not self.owed, f"owed at the end: {self.owed}")
        if not self.counts["turn_failed"]:
            lost = [hz for hz in self.said if not self.understood[hz]]
            self._expect(not lost, f"said, and never understood: {lost} of {self.said}")

    def _speech(self, kind: str, turn_id: int, text: str) -> None:
        match kind:
            case "speech_started":
                self._expect(self._speaking is None, f"speech of turn {turn_id} started within a turn")
                self._expect(turn_id > self._newest, f"turn {turn_id} began twice")
                self._newest = self._speaking = turn_id
                self._awaited.add(turn_id)
            case "speech_stopped":
                self._expect(self._speaking == turn_id, f"speech of turn {turn_id} ended that was not begun")
                self._speaking = None
            case _:
                self._expect(turn_id in self._awaited, f"a partial of turn {turn_id} after its end")
                self._own(text)

    def _end_turn(self, fields: dict[str, object]) -> None:
        turn_id, text = int(str(fields["turn_id"])), str(fields.get("text", ""))
        self._expect(turn_id in self._awaited, f"turn {turn_id} ended twice, or never began")
        self._awaited.discard(turn_id)
        self._own(text)
        self.understood.update(named(text))
        twice = [hz for hz in named(text) if self.understood[hz] > self.said.count(hz)]
        self._expect(not twice, f"said once and understood twice: {twice}")
        self._unanswered = self._unanswered or bool(text)

    def _begin_response(self, fields: dict[str, object]) -> None:
        response_id = str(fields["response_id"])
        self._expect(not self._response, f"{response_id} began within {self._response}")
        self._expect(response_id not in self._responses, f"{response_id} began twice")
        self._expect(self._speaking is None and not self._awaited, f"{response_id} began while the user spoke")
        self._responses.add(response_id)
        self._response, self._text, self._unanswered, self.waiting = response_id, "", False, 0
        self._pcm.clear()

    def _end_response(self, fields: dict[str, object]) -> None:
        self._expect(fields["response_id"] == self._response, f"{fields['response_id']} ended twice, or never began")
        status = str(fields["status"])
        self.counts[status] += 1
        self._own(self._text)
        heard_ms, sent_ms = len(self._pcm) / BYTES_PER_MS, int(str(fields["audio_ms"]))
        if status == "completed":
            self._expect(abs(heard_ms - sent_ms) <= _ROUNDED_MS, f"{sent_ms} ms were sent, {heard_ms:.0f} ms came")
            self.last_answer = named(self._text)
        astray = set(_tones_of(bytes(self._pcm))) - set(named(self._text))
        self._expect(not astray, f"an answer about {self._text!r} sounded of {sorted(astray)}")
        self._response = self._text = ""
        self._pcm.clear()

    def _hear(self, pcm: bytes) -> None:
        self._expect(bool(self._response), "audio came that is of no answer")
        self._pcm += pcm

    def _own(self, text: str) -> None:
        foreign = set(named(text)) - set(self.said)
        self._expect(not foreign, f"never said here, and heard here: {sorted(foreign)}")

    def _expect(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self.broken.append(otherwise)


def _tones_of(pcm: bytes) -> list[int]:
    """Return the tones in *pcm*, window by window."""
    found: set[int] = set()
    for start in range(0, len(pcm), 2 * WINDOW):
        window = pcm[start : start + 2 * WINDOW]
        if len(window) >= 2 * _LEAST_SAMPLES:
            found.update(named(tones(window)))
    return sorted(found)
