"""One connection's codec: frames of the client in, frames of the server out, in the connection's dialect."""

from collections.abc import Iterable

from gateway.core.realtime.client_events import AppendAudio, ClientEvent
from gateway.core.realtime.config import SessionConfig
from gateway.core.realtime.notices import Notice
from gateway.protocols.realtime.client_events import Append, ClientEvents
from gateway.protocols.realtime.ids import new_id
from gateway.protocols.realtime.server_events import ServerEvents
from gateway.protocols.realtime.values import Rules


class Codec:
    """Reads and writes frames. *expires_at* is when the session ends, in Unix seconds."""

    def __init__(self, rules: Rules, expires_at: int) -> None:
        self.session_id = new_id("sess")
        self._reads = ClientEvents(rules)
        self._writes = ServerEvents(rules.dialect, self.session_id, new_id("conv"), expires_at)

    def opening(self, config: SessionConfig) -> list[str]:
        """Return the frames that come before all others."""
        return self._writes.opening(config)

    def read(self, frame: str | bytes, config: SessionConfig) -> Iterable[ClientEvent]:
        """Return what *frame* asks for, *config* being in force: one event, or several of long audio.

        Raises:
            EventError: the frame has no effect; the client is told.
        """
        return self._reads.read(frame, config)

    def append(self, frame: bytes, config: SessionConfig) -> Append | None:
        """Return the audio of *frame*; None if it is no plain append of a little audio: then `read` understands it."""
        return self._reads.append(frame, config)

    def heard(self, audio: bytes, event_id: str | None, config: SessionConfig) -> AppendAudio:
        """Return the event of *audio*, which was appended."""
        return self._reads.heard(audio, event_id, config)

    def write(self, notice: Notice) -> list[str]:
        """Return the frames of *notice*: usually one, none if the dialect does not have it."""
        return self._writes.write(notice)
