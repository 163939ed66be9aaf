"""The agent's side: one answer from its request to its one end.

A response ends exactly once: completed (all of it was handed to the client), cancelled (the user spoke over it, or
left), incomplete (the model was cut off by a limit) or failed. Nothing of it comes after its end.
"""

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from gateway.core.errors import IllegalTransitionError
from gateway.core.playout import PlayOut

if TYPE_CHECKING:  # commands name the status
    from gateway.core.commands import Respond


class Status(Enum):
    """Where a response stands; the values are those of the Realtime protocol."""

    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    INCOMPLETE = "incomplete"
    FAILED = "failed"


ENDS = frozenset({Status.COMPLETED, Status.CANCELLED, Status.INCOMPLETE, Status.FAILED})

TRANSITIONS: dict[Status, frozenset[Status]] = {
    Status.IN_PROGRESS: ENDS,
    **{end: frozenset() for end in ENDS},
}


@dataclass(slots=True)
class Response:
    """One answer to the user's message that ended with *turn_id*; its audio waits in *playout*."""

    response_id: str
    turn_id: int
    playout: PlayOut
    due_ms: float
    """When the service that is being waited for must have sent something."""
    request: "Respond"
    """As it was last made."""
    failures: int = 0
    told: bool = False
    """Whether the client has heard or read any of it. Until then it may be asked for again."""
    status: Status = Status.IN_PROGRESS
    text: str = ""
    text_complete: bool = False
    cut_off: bool = False
    granted_ms: int = 0

    @property
    def all_received(self) -> bool:
        """Whether the services have sent all of it."""
        return self.text_complete and self.playout.complete

    def end(self, status: Status) -> None:
        """End the response.

        Raises:
            IllegalTransitionError: it has ended before, or *status* is no end.
        """
        if status not in TRANSITIONS[self.status]:
            raise IllegalTransitionError(f"{self.status.value} to {status.value}")
        self.status = status
