"""The JSON events of the raw WebSocket."""

import json
from typing import get_args

import pytest

from gateway.core import commands as do
from gateway.core.response import Status
from gateway.protocols import raw_events

NOTICES: list[do.Notice] = [
    do.SpeechStartedNotice(1, 20),
    do.SpeechStoppedNotice(1, 920),
    do.PartialTranscriptNotice(1, "wie"),
    do.TranscriptNotice(1, 'wie "spät" ist es\n', reopened=False),
    do.TurnFailedNotice(1, "asr: broken"),
    do.ResponseStartedNotice("r1", 1),
    do.TextNotice("r1", "zwölf 🕛"),
    do.InterruptNotice("r1", 700),
    do.ResponseDoneNotice("r1", Status.CANCELLED, "zwölf", 900, ""),
    do.InputLostNotice("vad: gone"),
]


def test_every_notice_has_a_type_of_its_own() -> None:
    assert set(get_args(do.Notice)) == set(raw_events.TYPES) == {type(notice) for notice in NOTICES}
    assert len(set(raw_events.TYPES.values())) == len(raw_events.TYPES)


@pytest.mark.parametrize("notice", NOTICES, ids=lambda notice: type(notice).__name__)
def test_a_notice_is_json_with_all_its_fields(notice: do.Notice) -> None:
    event = json.loads(raw_events.notice_event(notice))
    assert event.pop("type") == raw_events.TYPES[type(notice)]
    fields = {name: getattr(notice, name) for name in notice.__slots__}
    if "status" in fields:
        fields["status"] = fields["status"].value
    assert event == fields


def test_the_first_event_tells_the_format() -> None:
    assert json.loads(raw_events.session_event("abc")) == {
        "type": "session",
        "session_id": "abc",
        "sample_rate": 16_000,
        "encoding": "s16le",
        "channels": 1,
    }


def test_latencies_and_errors_are_events_too() -> None:
    assert json.loads(raw_events.latency_event(3, {"vad": 1.5})) == {
        "type": "latency",
        "turn_id": 3,
        "ms": {"vad": 1.5},
    }
    assert json.loads(raw_events.error_event("no text")) == {"type": "error", "message": "no text"}


def test_an_event_is_one_line() -> None:
    assert "\n" not in raw_events.notice_event(do.TextNotice("r1", "one\ntwo"))
