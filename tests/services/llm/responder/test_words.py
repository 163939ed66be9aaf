"""Words as they are matched and said."""

import pytest

from services.llm.responder import words


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("What's  the TIME?", "what is the time"),
        ("what\N{RIGHT SINGLE QUOTATION MARK}s up", "what is up"),
        ("uh, hello um", "hello"),
        ("[NOISE] <sil> ++breath++", ""),
        ("Grüße, Zoë!", "grüße zoë"),
        ("\x00\x07a\u202eb", "a b"),
        ("", ""),
    ],
)
def test_plain_words(text: str, plain: str) -> None:
    assert words.plain(text) == plain


def test_a_long_echo_is_shortened_and_says_so() -> None:
    assert words.shortened("one two three.") == "one two three"
    assert words.shortened(" ".join(["word"] * 50)).endswith("word, and so on")
    assert len(words.shortened("x" * 5000)) < 120


def test_sentences_begin_and_end_as_sentences_do() -> None:
    assert words.sentence("the sky is blue") == "The sky is blue."
    assert words.sentence("Really?") == "Really?"
    assert words.sentence("  ") == ""


def test_questions() -> None:
    assert words.is_question("how old is the bridge")
    assert words.is_question("is it raining")
    assert words.is_question("you like it?")
    assert not words.is_question("has never been surpassed")
    assert not words.is_question("book a room")


def test_lists_are_said_as_people_say_them() -> None:
    assert words.listed([]) == ""
    assert words.listed(["a"]) == "a"
    assert words.listed(["a", "b", "c"]) == "a, b and c"
