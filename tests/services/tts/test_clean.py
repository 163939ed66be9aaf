"""What is spoken for what was written."""
# ruff: noqa: RUF001 - typographic marks are what this is about

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.tts.clean import speakable


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("Hello there, friend.", "Hello there, friend."),
        ("  much \n\t white   space ", "much white space"),
        ("a\x00b\x07c\u202ed", "a b cd"),
        # markdown
        ("**Hello** _world_, this is `code`.", "Hello world, this is code."),
        ("**half of it", "half of it"),
        ("~~gone~~ and ***strong***", "gone and strong"),
        ("## A heading ##", "A heading"),
        ("- item one\n- item two", "item one item two"),
        ("* [x] a task", "a task"),
        ("> quoted", "quoted"),
        ("1. First", "1. First"),
        ("[a link](https://a.b/c_d_(e)), please", "a link, please"),
        ("[half a link,", "half a link,"),
        ("the other](https://a.b) half", "the other half"),
        ("![a picture](x.png) [text][1]", "a picture text"),
        ("```python", ""),
        ("---", ""),
        ("| a | b |", "a, b"),
        ("|---|:-:|", ""),
        ("snake_case and 2*3*4", "snake case and 2 times 3 times 4"),
        # emoji and pictographs
        ("Hi 👋🏽 there 🙂", "Hi there"),
        ("👨‍👩‍👧 🇩🇪 ✨ ✅ →", ""),
        ("1️⃣ one", "1 one"),
        # addresses
        ("Visit https://www.example.com/path?x=1. Now", "Visit example dot com. Now"),
        ("(see https://user:secret@docs.example.org:80/x)", "(see docs dot example dot org)"),
        ("http://127.0.0.1:8080/x and http://localhost/", "link and link"),
        ("www.foo.co.uk/x, ok", "foo dot co dot uk, ok"),
        ("mail john.doe@example.com!", "mail john dot doe at example dot com!"),
        # symbols
        ("50% & 3 + 4 = 7", "50 percent and 3 plus 4 equals 7"),
        ("AT&T @home #5 #tag", "AT and T at home number 5 tag"),
        ("$5.20 and $3 million, €5", "5.20 dollars and 3 million dollars, 5 euros"),
        ("20°C or 68 °F, 5°", "20 degrees Celsius or 68 degrees Fahrenheit, 5 degrees"),
        ("C++ is -5, 5 - 3, 10–20", "C plus plus is minus 5, 5 minus 3, 10 to 20"),
        ("a <= b, x < y", "a less than or equal to b, x less than y"),
        # HTML
        ("<b>bold</b><br/>Fish &amp; chips &lt;3 a < b", "bold Fish and chips 3 a less than b"),
        # prose
        ("it’s “fine” — really – ok…", 'it\'s "fine", really, ok…'),
        ("Wait... what!!! Really?!", "Wait... what! Really?!"),
        ("你好，世界。", "你好，世界。"),
        ("हिन्दी में café", "हिन्दी में café"),
        ("", ""),
        ("... !", ""),
    ],
)
def test_what_was_written_becomes_what_is_said(written: str, spoken: str) -> None:
    assert speakable(written) == spoken


def test_symbols_of_other_languages_are_left_to_the_engine() -> None:
    assert speakable("**50 %** & 20°", english=False) == "50 % & 20°"


@given(st.text())
def test_any_text_is_survived_and_what_is_said_is_tidy(text: str) -> None:
    spoken = speakable(text)
    assert spoken == " ".join(spoken.split(" ")).strip()
    assert not set(spoken) & set("\0\n\t*`<>{}|")
    assert spoken == "" or any(map(str.isalnum, spoken))


@pytest.mark.parametrize("piece", ["[", "(", "*", "<", "a@", "|", "- ", "https://", "_a", " ", "$5", "![", "---", "\n"])
def test_no_clause_takes_long_however_odd(piece: str) -> None:
    started = time.process_time()
    speakable(piece * (5000 // len(piece)))  # 25 clauses' worth
    assert time.process_time() - started < 5.0  # the bound tells quadratic time from hanging, not fast from slow
