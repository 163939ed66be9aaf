"""Answers as streams of words."""

from hypothesis import given, settings
from hypothesis import strategies as st

from services.llm.pieces import words_of


@settings(deadline=None)
@given(st.text())
def test_pieces_joined_are_the_text(text: str) -> None:
    assert "".join(words_of(text)) == text.rstrip() or "".join(words_of(text)).rstrip() == text.rstrip()


def test_words_carry_the_space_before_them() -> None:
    assert list(words_of("It is three oh five.")) == ["It", " is", " three", " oh", " five."]


def test_what_has_no_spaces_streams_too() -> None:
    assert max(map(len, words_of("x" * 1000))) <= 40
