"""The ledger that finds what suites do wrong finds it."""

import pytest

from launcher.client import Audio, Event
from tests.e2e.ledger import Ledger, Tones, tone

HZ, OTHER_HZ = 440, 900


def started(turn_id: int = 1) -> Event:
    return Event("speech_started", {"turn_id": turn_id, "at_ms": 0})


def stopped(turn_id: int = 1) -> Event:
    return Event("speech_stopped", {"turn_id": turn_id, "at_ms": 500})


def transcript(text: str = f"tone {HZ}", turn_id: int = 1) -> Event:
    return Event("transcript", {"turn_id": turn_id, "text": text, "reopened": False})


def begun(response_id: str = "r1") -> Event:
    return Event("response_started", {"response_id": response_id, "turn_id": 1})


def text(words: str = f"tone {HZ}.") -> Event:
    return Event("response_text", {"response_id": "r1", "text": words})


def done(status: str = "completed", audio_ms: int = 600, response_id: str = "r1") -> Event:
    fields = {"response_id": response_id, "status": status, "text": "", "audio_ms": audio_ms, "message": ""}
    return Event("response_done", fields)


def sound(hz: int = HZ, seconds: float = 0.6) -> Audio:
    return Audio(tone(hz, seconds), 0.0)


def told(*items: Audio | Event) -> Ledger:
    ledger = Ledger()
    ledger.say(HZ)
    for item in items:
        ledger.take(item)
    return ledger


WHOLE = (started(), stopped(), transcript(), begun(), text(), sound(), done())


def test_a_whole_turn_breaks_no_promise() -> None:
    ledger = told(*WHOLE)
    ledger.close()
    assert (ledger.broken, ledger.owed, ledger.last_answer) == ([], "", [HZ])


def test_an_interrupted_answer_may_be_short() -> None:
    interrupt = Event("interrupt", {"response_id": "r1", "heard_ms": 90})
    ledger = told(*WHOLE[:5], sound(seconds=0.1), started(2), interrupt, done("cancelled"))
    assert ledger.broken == []
    assert ledger.owed == "the end of the speech of turn 2, a text of turns [2]"


@pytest.mark.parametrize("items", range(1, len(WHOLE)))
def test_what_has_not_come_is_owed(items: int) -> None:
    assert told(*WHOLE[:items]).owed


WRONG = {
    "a turn that ends twice": (*WHOLE, transcript()),
    "a turn that fails after its text": (*WHOLE, Event("turn_failed", {"turn_id": 1, "message": "asr"})),
    "an answer that ends twice": (*WHOLE, done()),
    "an answer that begins twice": (*WHOLE, begun()),
    "an answer within another": (*WHOLE[:4], begun("r2")),
    "an answer while the user speaks": (started(), begun()),
    "speech that starts within speech": (started(), started(2)),
    "speech that stops twice": (started(), stopped(), stopped()),
    "sound after the end": (*WHOLE, sound()),
    "text after the end": (*WHOLE, text()),
    "words of another session": (started(), stopped(), transcript(f"tone {OTHER_HZ}")),
    "an answer to another session": (*WHOLE[:4], text(f"tone {OTHER_HZ}."), done("cancelled")),
    "sound of another session": (*WHOLE[:5], sound(OTHER_HZ), done()),
    "a little sound of another session": (*WHOLE[:5], sound(seconds=0.5), sound(OTHER_HZ, 0.1), done()),
    "an answer with a hole": (*WHOLE[:5], sound(seconds=0.5), done()),
    "words that are heard twice": (*WHOLE, started(2), stopped(2), transcript(turn_id=2)),
    "an error": (Event("error", {"message": "what?"}),),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_broken_promise_is_noticed(name: str) -> None:
    assert told(*WRONG[name]).broken


def test_what_was_said_and_never_understood_is_noticed_at_the_end() -> None:
    ledger = told(started(), stopped(), transcript(""))
    ledger.close()
    assert ledger.broken


def test_tones_are_not_used_again_soon() -> None:
    tones = Tones()
    taken = [tones.take() for _ in range(65)]
    assert len(set(taken)) == 65
    assert tones.take() == taken[0]
