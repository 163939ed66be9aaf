"""What a request may ask of an engine."""

import pytest

from bus.errors import InvalidRequestError
from services.tts.engine import chosen_language, chosen_speed, chosen_voice

LANGUAGES = ["de", "en-GB", "en-US", "pt", "pt-BR"]


@pytest.mark.parametrize(
    ("asked", "default", "chosen"),
    [
        ("", "en-US", "en-US"),
        ("en", "en-US", "en-US"),
        ("en", "de", "en-GB"),
        ("en_us", "de", "en-US"),
        ("de-AT", "en-US", "de"),
        ("pt-br", "", "pt-BR"),
        ("PT-PT", "", "pt"),
        ("en-AU", "", "en-GB"),
    ],
)
def test_the_nearest_language_is_chosen(asked: str, default: str, chosen: str) -> None:
    assert chosen_language(asked, LANGUAGES, default) == chosen


def test_an_unknown_language_is_refused_naming_the_known() -> None:
    with pytest.raises(InvalidRequestError, match="'fr'; known: de, en-GB, en-US, pt, pt-BR"):
        chosen_language("fr", LANGUAGES)


def test_voices_are_found_in_any_case_and_unknown_ones_refused() -> None:
    assert chosen_voice("SLT", ["slt", "kal"]) == "slt"
    assert chosen_voice("", ["slt", "kal"], "kal") == "kal"
    assert chosen_voice("any", []) == "any"
    with pytest.raises(InvalidRequestError, match="'alloy'; known: kal, slt"):
        chosen_voice("alloy", ["slt", "kal"])


def test_a_long_list_is_shortened() -> None:
    with pytest.raises(InvalidRequestError, match="and 30 more"):
        chosen_voice("x", [f"voice{number}" for number in range(50)])


@pytest.mark.parametrize("speed", [0.1, 5.0, -1.0, float("nan"), float("inf")])
def test_nobody_speaks_at_such_a_speed(speed: float) -> None:
    with pytest.raises(InvalidRequestError):
        chosen_speed(speed)


def test_no_speed_is_normal_speed() -> None:
    assert chosen_speed(0.0) == 1.0
