"""Tokens to pieces, with a tokenizer whose tokens are bytes."""

from collections.abc import Sequence
from typing import Any

import pytest

from services.llm.engine import Done, Reason, Text, Tool
from services.llm.local.answer import Answer, Deltas, Until

END = 256


class Bytes:
    """Each byte is a token."""

    def decode(self, tokens: Sequence[int], **_: Any) -> str:
        return bytes(tokens).decode(errors="replace")


def answered(text: str, *, allowed: int = 1000, **told: Any) -> tuple[str, Done]:
    answer = Answer(Bytes(), frozenset({END}), allowed, **told)
    pieces: list[Any] = []
    for token in [*text.encode(), END][:allowed]:
        pieces += answer.push([token])
        if answer.over:
            break
    pieces += answer.end(7)
    assert isinstance(pieces[-1], Done)
    return "".join(piece.text for piece in pieces if isinstance(piece, Text)), pieces[-1]


def test_no_piece_ends_within_a_character() -> None:
    deltas = Deltas(Bytes())
    said = "Grüße, \u4f60\u597d \N{GRINNING FACE}!"
    pieces = [deltas.push([byte]) for byte in said.encode()]
    assert "".join(pieces) == said
    assert [piece for piece in pieces if piece] == list(said)


def test_bytes_that_are_no_character_are_shown_as_such_once_it_is_clear() -> None:
    deltas = Deltas(Bytes())
    assert [deltas.push([byte]) for byte in b"a\xffb"] == ["a", "", "\ufffdb"]


@pytest.mark.parametrize("step", [1, 4, 100])
def test_what_a_model_writes_for_others_is_cut_off(step: int) -> None:
    until = Until(("\nUser:", "\nSystem:"))
    said = "Fine.\nUs two.\nUser: and you?"
    passed = "".join(until.push(said[begin : begin + step]) for begin in range(0, len(said), step))
    assert passed.startswith("Fine.\nUs two.")
    assert "User" not in passed
    assert until.reached


def test_a_stop_that_did_not_come_is_text() -> None:
    until = Until(("\nUser:",))
    assert until.push("Fine.\nUse") + until.end() == "Fine.\nUse"


def test_the_token_that_ends_the_answer_is_counted_and_not_shown() -> None:
    text, done = answered("Hello.")
    assert (text, done.reason) == ("Hello.", Reason.STOP)
    assert (done.usage.input_tokens, done.usage.output_tokens) == (7, 7)


def test_an_answer_that_the_limit_has_cut_says_so() -> None:
    text, done = answered("Hello.", allowed=4)
    assert (text, done.reason, done.usage.output_tokens) == ("Hell", Reason.MAX_OUTPUT_TOKENS, 4)


def test_thoughts_are_not_spoken() -> None:
    assert answered("<think>Hm.</think>\n\nYes.")[0] == "Yes."
    assert answered("Hm.</think>\n\nYes.", thinking=True)[0] == "Yes."


def test_an_answer_ends_where_others_speak() -> None:
    text, done = answered(" Hello.\nUser: Hi.", stops=("\nUser:",))
    assert (text, done.reason) == ("Hello.", Reason.STOP)


def test_a_call_is_the_reason_of_the_end() -> None:
    _, done = answered('<tool_call>{"name": "timer", "arguments": {}}</tool_call>', tools=(Tool("timer"),))
    assert done.reason is Reason.TOOL_CALLS


def test_a_call_that_the_limit_has_cut_is_a_cut_answer() -> None:
    text, done = answered('<tool_call>{"name": "timer"', tools=(Tool("timer"),), allowed=20)
    assert (text, done.reason) == ("", Reason.MAX_OUTPUT_TOKENS)
