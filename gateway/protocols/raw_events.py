"""The JSON events of the raw WebSocket, for clients that ask for them with `?events=1`.

Every event has a `type`; times are milliseconds, positions milliseconds on the audio clock of the connection.
"""

import json
from dataclasses import asdict
from typing import Any

from gateway.core import commands as do

TYPES: dict[type[Any], str] = {
    do.SpeechStartedNotice: "speech_started",
    do.SpeechStoppedNotice: "speech_stopped",
    do.PartialTranscriptNotice: "partial_transcript",
    do.TranscriptNotice: "transcript",
    do.TurnFailedNotice: "turn_failed",
    do.ResponseStartedNotice: "response_started",
    do.TextNotice: "response_text",
    do.InterruptNotice: "interrupt",
    do.ResponseDoneNotice: "response_done",
    do.InputLostNotice: "input_lost",
}


def notice_event(notice: do.Notice) -> str:
    """Return the JSON text of *notice*."""
    fields = asdict(notice)
    if isinstance(notice, do.ResponseDoneNotice):
        fields["status"] = notice.status.value
    return _dump(TYPES[type(notice)], **fields)


def session_event(session_id: str) -> str:
    """Return the first event of a connection: its formats and its id (to find it in logs)."""
    return _dump("session", session_id=session_id, sample_rate=16_000, encoding="s16le", channels=1)


def latency_event(turn_id: int, spent_ms: dict[str, float]) -> str:
    """Return the event that tells where the time of a turn went."""
    return _dump("latency", turn_id=turn_id, ms=spent_ms)


def error_event(message: str) -> str:
    """Return an event about something that the client sent."""
    return _dump("error", message=message)


def _dump(kind: str, **fields: object) -> str:
    return json.dumps({"type": kind, **fields}, ensure_ascii=False, separators=(",", ":"))
