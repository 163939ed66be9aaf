"""What the tests of the codec have in common: sessions, audio, and a codec that is easy to ask."""

import json
from base64 import b64encode
from typing import Any

import pytest

from gateway.core.realtime.client_events import ClientEvent, UpdateSession
from gateway.core.realtime.config import SessionConfig
from gateway.protocols.realtime.client_events import ClientEvents
from gateway.protocols.realtime.dialect import BETA, GA, Dialect
from gateway.protocols.realtime.errors import EventError
from gateway.protocols.realtime.fields import session_object
from gateway.protocols.realtime.values import Rules

DIALECTS = pytest.mark.parametrize("dialect", [GA, BETA], ids=["ga", "beta"])
AUDIO = b64encode(bytes(960)).decode()
PNG = "data:image/png;base64,iVBORw0KGgo="
VOICES = ("slt", "kal")


def rules(dialect: Dialect) -> Rules:
    """Return the rules of a session in *dialect*."""
    return Rules(dialect, SessionConfig(model="m", type="realtime"), VOICES)


def asked(dialect: Dialect, event: Any, config: SessionConfig | None = None) -> ClientEvent:
    """Return what *event*, the first of its connection, asks for."""
    frame, config = _framed(event), config or SessionConfig(model="m")
    (read,) = ClientEvents(rules(dialect)).read(frame, config)
    assert at_once(dialect, frame, config) in (None, read)
    return read


def refused(dialect: Dialect, event: Any, config: SessionConfig | None = None) -> EventError:
    """Return the error that *event* brings."""
    frame, config = _framed(event), config or SessionConfig(model="m")
    with pytest.raises(EventError) as caught:
        ClientEvents(rules(dialect)).read(frame, config)
    assert at_once(dialect, frame, config) is None
    return caught.value


def at_once(dialect: Dialect, frame: str, config: SessionConfig) -> ClientEvent | None:
    """Return the audio of *frame*, the first of its connection, as it is read at once; None if it is left to `read`."""
    events = ClientEvents(rules(dialect))
    append = events.append(frame.encode(), config)
    return None if append is None else events.heard(append.audio, append.event_id, config)


def _framed(event: Any) -> str:
    return event if isinstance(event, str) else json.dumps(event)


def updated(dialect: Dialect, session: Any, config: SessionConfig | None = None) -> SessionConfig:
    """Return the configuration after an update; GA's type is filled in."""
    if dialect is GA:
        session = {"type": config.type if config else "realtime", **session}
    kind = "transcription_session" if dialect is BETA and config and config.type == "transcription" else "session"
    event = asked(dialect, {"type": f"{kind}.update", "session": session}, config)
    assert isinstance(event, UpdateSession)
    return event.config


def shown(dialect: Dialect, config: SessionConfig) -> dict[str, Any]:
    """Return the session as the client sees it."""
    return session_object(config, dialect, "sess_1", 1)
