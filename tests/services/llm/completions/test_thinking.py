"""What is thought is kept apart from what is said, wherever the text is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.llm.completions.thinking import Spoken


def spoken(*pieces: str, thinking: bool = False) -> str:
    keeper = Spoken(thinking=thinking)
    return "".join([*map(keeper.push, pieces), keeper.end()])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ""),
        ("Plain.", "Plain."),
        ("  Plain. ", "Plain. "),
        ("<think>a</think>\n\nSaid.", "Said."),
        ("<thinking>a</thinking>Said.", "Said."),
        ("One. <think>a</think> Two.", "One. Two."),
        ("<think>never ends", ""),
        ("<think></think>", ""),
        ("a <thin", "a <thin"),
        ("a < b <i>c</i>", "a < b <i>c</i>"),
        ("a </think> b", "a </think> b"),
    ],
)
def test_thoughts_are_left_out(text: str, said: str) -> None:
    assert spoken(text) == said
    assert spoken(*text) == said


def test_a_thought_may_have_begun_before_the_text() -> None:
    assert spoken("a</think> Said.", thinking=True) == "Said."


@given(st.lists(st.sampled_from(["<think>", "</think>", "<thinking>", "</thinking>", "a", " ", "<", "/", "th"])))
def test_it_does_not_matter_where_the_text_is_cut(pieces: list[str]) -> None:
    text = "".join(pieces)
    assert spoken(text) == spoken(*pieces) == spoken(*text)


@given(st.text("ab<> "))
def test_what_is_no_tag_is_all_said(text: str) -> None:
    assert spoken(*text) == text.lstrip()


def test_words_wait_for_nothing_but_what_may_be_a_tag() -> None:
    keeper = Spoken()
    assert [keeper.push(piece) for piece in ("One", " two", " <th", "ree")] == ["One", " two", " ", "<three"]
