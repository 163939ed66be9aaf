"""Where a text is cut into clauses."""
# ruff: noqa: RUF001 - marks of many scripts look alike

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.tts.clauses import AT_MOST, FIRST_AT_MOST, Boundary, ClauseCutter, ending_of

# Text made of what the cutter decides about, more often than chance would.
PROSE = st.lists(
    st.sampled_from(
        [*"aBc1 \n\t.,;:!?…—–-\"')*。！？、，你好🙂", "Mr.", "No.", "p.m.", "U.S.", "3.14", "...", "word ", ". "]
    )
    | st.characters(),
    max_size=400,
).map("".join)


def cut(text: str) -> list[str]:
    cutter = ClauseCutter()
    return cutter.feed(text) + cutter.flush()


@pytest.mark.parametrize(
    "clauses",
    [
        pytest.param(["Hello! ", "How are you today? ", "I am fine."], id="a greeting is a clause"),
        pytest.param(["Sure, I can do that, ", "if you like, and so on."], id="one word and a comma are not"),
        pytest.param(["Well yes, ", "I think so."], id="two words and a comma are"),
        pytest.param(["Unfortunately, ", "no."], id="so is a long word"),
        pytest.param(["Here it is: ", "a list; of things. ", "Next."], id="a colon ends the first clause only"),
        pytest.param(["One thing — ", "another — a third."], id="a dash"),
        pytest.param(["One thing—", "another."], id="a dash without spaces"),
        pytest.param(["The value is 3.14, ", "and 1,000 at 10:30. ", "Fine."], id="numbers and times"),
        pytest.param(["Dr. Smith met Mr. Jones. ", "Both left."], id="titles"),
        pytest.param(["Did J. K. Rowling visit the U.S. in May? ", "Yes."], id="names"),
        pytest.param(["Use fruit, ", "e.g. apples, i.e. food, etc. if you can. ", "Thanks."], id="e.g."),
        pytest.param(["We met at 5 p.m. on Monday. ", "Then left."], id="p.m. in a sentence"),
        pytest.param(["We met at 5 p.m. ", "The end."], id="p.m. ends a sentence before a capital"),
        pytest.param(["No. 5 is alive. ", "Yes."], id="a number"),
        pytest.param(["No. ", "That is wrong."], id="no number"),
        pytest.param(["See https://a.b/c?d=1,2. ", "Or mail a.b@c.co, ok?"], id="addresses"),
        pytest.param(["Wait... what is this... ", "I see."], id="ellipses end no later sentence"),
        pytest.param(['He said "Hello." ', "(And left.) ", "Bye."], id="quotes and brackets close after the mark"),
        pytest.param(["**Bold text.** ", "_More._ ", "End."], id="so does markdown"),
        pytest.param(["1. First item\n", "2. Second item\n", "- third\n"], id="lists"),
        pytest.param(["# Title\n", "\nText."], id="headings"),
        pytest.param(["What is 5 - 3 and 10 - 2 please? ", "Six."], id="a minus is no dash"),
        pytest.param(["你好，", "我是助手。", "今天天气很好！", "“真的？”", "他说。"], id="Chinese"),
        pytest.param(["价格是１，０００元。", "好。"], id="a wide thousands mark"),
        pytest.param(["यह एक वाक्य है। ", "दूसरा।"], id="Hindi"),
        pytest.param(["Bonjour ! ", "Comment allez-vous ? ", "Bien."], id="French spaces"),
        pytest.param(["🙂 ! Hello there, ", "friend. ", "🙂"], id="what cannot be spoken ends nothing"),
        pytest.param([" \n "], id="white space alone"),
        pytest.param([], id="nothing"),
    ],
)
def test_a_text_is_cut_where_a_speaker_would_breathe(clauses: list[str]) -> None:
    assert cut("".join(clauses)) == clauses


@given(text=PROSE, ends=st.lists(st.integers(0, 400)))
def test_the_clauses_are_the_text_however_it_was_split(text: str, ends: list[int]) -> None:
    places = sorted({0, len(text), *(end for end in ends if end < len(text))})
    cutter = ClauseCutter()
    clauses: list[str] = []
    for begin, end in pairwise(places):
        clauses += cutter.feed(text[begin:end])
    clauses += cutter.flush()
    assert "".join(clauses) == text
    assert clauses == cut(text)
    assert all(0 < len(clause) <= AT_MOST for clause in clauses)


def test_a_beginning_without_marks_is_not_held_back() -> None:
    cutter = ClauseCutter()
    clauses = cutter.feed("so the thing that you have to understand about all of this is that it never ends")
    assert clauses[0] == "so the thing that you have to understand about "
    assert len(clauses[0]) <= FIRST_AT_MOST


def test_a_mark_at_the_end_is_only_sure_when_white_space_follows() -> None:
    cutter = ClauseCutter()
    assert cutter.feed("It is 3.") == []
    assert cutter.feed("14 today.") == []
    assert cutter.feed(" ") == ["It is 3.14 today. "]


def test_a_long_sentence_is_cut_at_its_best_mark() -> None:
    first, second, rest = cut("Listen now. " + "word " * 20 + "and then, " + "word " * 20 + "end.")
    assert first == "Listen now. "
    assert second.endswith("and then, ")
    assert rest.endswith("end.")


def test_a_word_without_end_is_cut_all_the_same() -> None:
    assert [len(clause) for clause in cut("x" * 450)] == [AT_MOST, AT_MOST, 50]


def test_after_a_flush_a_new_text_begins() -> None:
    cutter = ClauseCutter()
    cutter.feed("Hello there. And")
    cutter.flush()
    assert cutter.feed("Well yes, so") == ["Well yes, "]


@pytest.mark.parametrize(
    ("clause", "ending"),
    [
        ("Hello. ", Boundary.SENTENCE),
        ('"Hello!" ', Boundary.SENTENCE),
        ("你好。", Boundary.SENTENCE),
        ("- item\n", Boundary.SENTENCE),
        ("Well yes, ", Boundary.CLAUSE),
        ("One thing — ", Boundary.CLAUSE),
        ("about all of ", Boundary.NOTHING),
        ("", Boundary.NOTHING),
    ],
)
def test_the_ending_tells_the_pause(clause: str, ending: Boundary) -> None:
    assert ending_of(clause) is ending
