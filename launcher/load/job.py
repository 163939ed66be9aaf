"""What a generator process is told to do."""

from dataclasses import dataclass

from launcher.load.schedule import Schedule
from launcher.load.speech import Phrase


@dataclass(frozen=True, slots=True)
class Job:
    """A share of a load. *kind*: a role, or the protocol of clients; *patience_s*: how long late answers are awaited.

    *bind*: where a role's answers are heard; *run* makes ids unique; *bus_keys*: folder of an encrypted bus, "": none.
    """

    kind: str
    target: str
    bind: str
    schedule: Schedule
    phrases: tuple[Phrase, ...]
    patience_s: float
    run: str
    bus_keys: str = ""
