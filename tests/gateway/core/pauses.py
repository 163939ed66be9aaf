"""When the audio of a session may wait, of whichever kind it is."""

from typing import Any, Protocol

from gateway.core import events as ev


class Patient(Protocol):
    """A session that tells whether audio may wait."""

    @property
    def patient(self) -> bool:
        """Whether it may."""
        ...


class Story(Protocol):
    """What both kinds of story tell."""

    @property
    def session(self) -> Patient:
        """The session of the story."""
        ...

    def starts_speaking(self, turn_id: int) -> Any:
        """Begin a turn."""
        ...

    def tell(self, *events: Any) -> Any:
        """Give the session events."""
        ...


def waits_but_for_a_pause(story: Story) -> bool:
    """Begin turn 1 with a pause in it; return whether audio could wait before and in speech, and not in the pause."""
    patient = [story.session.patient]
    story.starts_speaking(1)
    patient.append(story.session.patient)
    for event in (ev.SpeechPaused(1), ev.SpeechResumed(1)):
        story.tell(event)
        patient.append(story.session.patient)
    return patient == [True, True, False, True]
