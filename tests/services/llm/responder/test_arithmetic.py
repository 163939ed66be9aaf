"""Sums in speech."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.llm.responder import numbers
from services.llm.responder.arithmetic import answer
from services.llm.responder.words import sentence

SUMS = [
    ("what is seventeen times three", "Seventeen times three is fifty-one."),
    ("one is seventeen times three", "Seventeen times three is fifty-one."),
    ("seventeen time three", "Seventeen times three is fifty-one."),
    ("12 plus 30", "Twelve plus thirty is forty-two."),
    ("What's 12+30?", "Twelve plus thirty is forty-two."),
    ("how much as fifty minus eight", "Fifty minus eight is forty-two."),
    ("ten divided by four", "Ten divided by four is two point five."),
    ("ten divided by three", "Ten divided by three is about three point three three three three."),
    ("one hundred and five plus one", "One hundred five plus one is one hundred six."),
    ("what is ten percent of fifty", "Ten percent of fifty is five."),
    ("15% of 200", "Fifteen percent of two hundred is thirty."),
    ("fifty plus ten percent", "Fifty plus ten percent is fifty-five."),
    ("half of ninety", "Half of ninety is forty-five."),
    ("a third of ninety", "A third of ninety is thirty."),
    ("twice twenty one", "Twice twenty-one is forty-two."),
    ("the square root of one hundred forty four", "The square root of one hundred forty-four is twelve."),
    ("square root of two", "The square root of two is about one point four one four two."),
    ("five squared plus one", "Five squared plus one is twenty-six."),
    ("two to the power of ten", "Two to the power of ten is one thousand twenty-four."),
    ("2^3^2", "Two to the power of three to the power of two is five hundred twelve."),
    ("two plus three times four", "Two plus three times four is fourteen."),
    ("ten minus three minus two", "Ten minus three minus two is five."),
    ("(2+3)*4", "The result of two plus three, times four is twenty."),
    ("minus five plus two", "Minus five plus two is minus three."),
    ("add five and seven", "Five plus seven is twelve."),
    ("subtract three from ten", "Ten minus three is seven."),
    ("multiply six by seven", "Six times seven is forty-two."),
    ("divide one hundred by eight", "One hundred divided by eight is twelve point five."),
    ("the sum of twelve and thirty", "Twelve plus thirty is forty-two."),
    ("what is to plus to", "Two plus two is four."),
    ("ten minus for", "Ten minus four is six."),
    ("0.1 + 0.2", "Zero point one plus zero point two is zero point three."),
    ("1,000 \N{MULTIPLICATION SIGN} 2", "One thousand times two is two thousand."),
    ("ten divided by zero", "Nothing can be divided by zero."),
    ("zero to the power of minus one", "Nothing can be divided by zero."),
    ("square root of minus four", "A negative number has no real square root."),
    ("nine to the power of nine thousand", "That number is too large for me."),
    ("ten to the power of thirty times ten to the power of thirty", "That number is too large for me."),
]


@pytest.mark.parametrize(("said", "answered"), SUMS, ids=[said for said, _ in SUMS])
def test_sums_are_found_and_worked_out(said: str, answered: str) -> None:
    assert answer(said) == answered


@pytest.mark.parametrize(
    "said",
    [
        "",
        "how old is the brooklyn bridge",
        "one two three",
        "two thirty p m",
        "i bought two apples for four dollars",
        "half an hour",
        "how many times",
        "plus",
        "minus five",
        "ten percent",
        "three times",
        "((((((((",
        "- - - - 5",
        "9" * 5000 + " plus 1",
    ],
)
def test_what_is_no_sum_is_left_alone(said: str) -> None:
    assert answer(said) is None


SMALL = st.integers(0, 10**6)


@settings(deadline=None)
@given(SMALL, SMALL)
def test_sums_in_words_and_in_digits_are_the_same(a: int, b: int) -> None:
    said = f"what is {numbers.in_words(a)} plus {numbers.in_words(b)}"
    assert answer(said) == answer(f"{a} + {b}")
    assert answer(said) == sentence(f"{numbers.in_words(a)} plus {numbers.in_words(b)} is {numbers.in_words(a + b)}")


@settings(deadline=None)
@given(SMALL, st.integers(1, 10**6))
def test_quotients_are_exact_before_they_are_rounded(a: int, b: int) -> None:
    said = answer(f"{a} / {b}")
    assert said is not None
    assert said.endswith(f" is {numbers.in_words(Fraction(a, b))}.")


@settings(deadline=None)
@given(st.text(alphabet="0123456789+-*/^%() .", max_size=80))
def test_no_string_of_symbols_stops_it(said: str) -> None:
    answer(said)


@settings(deadline=None)
@given(st.lists(st.sampled_from("two ten half of twice minus plus times squared root square the to power".split())))  # noqa: SIM905
def test_no_string_of_words_stops_it(words: list[str]) -> None:
    answer(" ".join(words))
