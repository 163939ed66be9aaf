"""A piece of the user's audio that becomes one item: from its first sample to its text."""

from dataclasses import dataclass, field
from enum import Enum, auto

from gateway.core.realtime.conversation import Entry


class Stage(Enum):
    """How far a segment is.

    OPEN       audio is added to it
    COMMITTED  it is an item; the vad may still report turns in it
    SETTLED    the vad has passed its end: no further turn belongs to it
    DONE       its text is known, or will never be
    """

    OPEN = auto()
    COMMITTED = auto()
    SETTLED = auto()
    DONE = auto()


@dataclass(slots=True, eq=False)
class Segment:
    """One item in the making. Mostly one turn of the vad; none if it heard no speech, several if it cut a long one."""

    item_id: str
    start_ms: float
    stage: Stage = Stage.OPEN
    end_sample: int = 0
    turns: dict[int, str | None] = field(default_factory=dict)
    """The turns' texts, None while awaited."""
    partials: dict[int, str] = field(default_factory=dict)
    told: str = ""
    """What of the partial text the client has."""
    failed: str = ""
    transcribed: bool = False
    """Whether the client wants to know the text."""
    entry: Entry | None = None
    due_ms: float | None = None
    settle_due_ms: float | None = None

    @property
    def awaits(self) -> bool:
        """Whether a turn of it has no text yet."""
        return any(text is None for text in self.turns.values())

    @property
    def text(self) -> str:
        """What was understood."""
        return " ".join(text for text in (said.strip() for said in self.turns.values() if said) if text)

    @property
    def partial(self) -> str:
        """What was understood so far, the turns that go on included."""
        known = (said if said is not None else self.partials.get(turn_id, "") for turn_id, said in self.turns.items())
        return " ".join(text for text in known if text)
