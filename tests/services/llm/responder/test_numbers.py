"""Numbers in words and back."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.llm.responder import numbers


def read(text: str) -> Fraction | None:
    words = text.replace("-", " ").split()
    parsed = numbers.parse(words, 0)
    return parsed[0] if parsed and parsed[1] == len(words) else None


@settings(deadline=None)
@given(st.integers(0, numbers.LARGEST))
def test_whole_numbers_survive_words_and_back(value: int) -> None:
    assert read(numbers.in_words(value)) == value


@settings(deadline=None)
@given(st.integers(0, 10**9), st.integers(0, 9999))
def test_decimals_survive_words_and_back(whole: int, decimals: int) -> None:
    value = whole + Fraction(decimals, 10_000)
    words = numbers.in_words(value)
    assert read(words.removeprefix("about ")) == value or words.startswith("about")


@settings(deadline=None)
@given(st.fractions())
def test_every_fraction_can_be_said_in_letters_alone(value: Fraction) -> None:
    assert numbers.in_words(value).replace(" ", "").replace("-", "").isalpha()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a hundred and five", 105),
        ("hundred", 100),
        ("nineteen hundred eighty four", 1984),
        ("two million three hundred thousand and one", 2_300_001),
        ("5 million", 5_000_000),
        ("12", 12),
        ("3.25", Fraction("3.25")),
        ("three point one four", Fraction("3.14")),
        ("point five", Fraction(1, 2)),
        ("three point oh five", Fraction("3.05")),
        ("two and a half", Fraction(5, 2)),
        ("fourty two", 42),
    ],
)
def test_numbers_are_read_as_people_say_them(text: str, value: Fraction | int) -> None:
    assert read(text) == value


@pytest.mark.parametrize("text", ["", "point", "and", "seven eight", "9" * 40, "twenty eleven", "a", "one and two"])
def test_what_is_no_single_number_is_not_read_as_one(text: str) -> None:
    assert read(text) is None


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (-21, "minus twenty-one"),
        (Fraction(1, 3), "about zero point three three three three"),
        (Fraction(1, 7_000_000), "about zero point zero zero zero zero zero zero one four three"),
        (Fraction(1, 10**20), "almost zero"),
        (Fraction(1, 4), "zero point two five"),
        (10**30, "about a number with thirty-one digits"),
    ],
)
def test_odd_numbers_are_said_sensibly(value: Fraction | int, words: str) -> None:
    assert numbers.in_words(value) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [(1, "first"), (2, "second"), (12, "twelfth"), (20, "twentieth"), (23, "twenty-third"), (31, "thirty-first")],
)
def test_ordinals(value: int, words: str) -> None:
    assert numbers.ordinal(value) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (2025, "twenty twenty-five"),
        (2005, "two thousand five"),
        (1905, "nineteen oh five"),
        (1900, "nineteen hundred"),
        (2000, "two thousand"),
        (42, "forty-two"),
    ],
)
def test_years(value: int, words: str) -> None:
    assert numbers.year(value) == words
