"""What the parts of one session share: its configuration, the time, and what has been commanded so far."""

from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.core.realtime import commands as do
from gateway.core.realtime.config import SessionConfig
from gateway.core.realtime.notices import Rejected
from gateway.core.realtime.settings import RealtimeSettings


@dataclass(slots=True)
class Scene:
    """The present moment of a session. *new_id* returns a new id of the kind it is given: item, resp, call or conv."""

    settings: RealtimeSettings
    config: SessionConfig
    now_ms: float
    new_id: Callable[[str], str]
    out: list[do.Command] = field(default_factory=list)
    heard_until_ms: float = 0.0
    """When the client will have played all of the answers; infinite while one is being made."""

    def say(self, *commands: do.Command) -> None:
        """Have *commands* carried out after those before them."""
        self.out.extend(commands)

    def reject(self, code: str, message: str, event_id: str | None, param: str | None = None) -> None:
        """Tell the client that its event had no effect."""
        self.out.append(Rejected(code, message, param, event_id))
