"""What a model is told of a conversation."""

import pytest

from gateway.core.realtime.config import ResponseConfig
from gateway.core.realtime.context import Image, ModelMessage, Text, ToolCall
from gateway.core.realtime.conversation import Entry
from gateway.core.realtime.items import Item, Part
from gateway.core.realtime.prompt import (
    NO_OUTPUT,
    ContextTooLongError,
    Limit,
    limit_of,
    prompt_of,
    tokens_of,
    unanswered,
)

ROOMY = Limit(10_000, 10_000)


def said(role: str, text: str) -> Entry:
    kind = "output_text" if role == "assistant" else "input_text"
    part = Part("output_text" if kind == "output_text" else "input_text", text)
    match role:
        case "system":
            return Entry(Item("", "message", "system", parts=[part]))
        case "assistant":
            return Entry(Item("", "message", "assistant", parts=[part]))
        case _:
            return Entry(Item("", "message", "user", parts=[part]))


def call(call_id: str, status: str = "completed") -> Entry:
    item = Item("", "function_call", call_id=call_id, name="f", arguments="{}")
    item.status = "completed" if status == "completed" else "incomplete"
    return Entry(item)


def output(call_id: str, text: str) -> Entry:
    return Entry(Item("", "function_call_output", call_id=call_id, output=text))


def test_messages_keep_their_parts_pictures_included() -> None:
    parts = [Part("input_text", "what is this"), Part("input_image", image_url="data:x", detail="low")]
    messages = prompt_of([Entry(Item("", "message", "user", parts=parts))], ResponseConfig(), ROOMY)
    assert messages == (ModelMessage("user", (Text("what is this"), Image("data:x", "low"))),)


def test_calls_follow_what_was_said_before_them_and_are_followed_by_their_outputs() -> None:
    entries = [said("user", "go"), said("assistant", "One moment."), call("a"), call("b")]
    entries += [said("user", "hurry"), output("b", "2"), output("a", "1")]
    messages = prompt_of(entries, ResponseConfig(), ROOMY)
    calls = (ToolCall("a", "f", "{}"), ToolCall("b", "f", "{}"))
    assert messages == (
        ModelMessage("user", (Text("go"),)),
        ModelMessage("assistant", (Text("One moment."),), calls),
        ModelMessage("tool", (Text("1"),), call_id="a"),
        ModelMessage("tool", (Text("2"),), call_id="b"),
        ModelMessage("user", (Text("hurry"),)),
    )


def test_a_call_without_an_output_says_so_and_one_that_was_cut_off_is_left_out() -> None:
    messages = prompt_of([call("a"), call("b", "incomplete"), output("nobody's", "3")], ResponseConfig(), ROOMY)
    assert [(m.author, m.text) for m in messages] == [("assistant", ""), ("tool", NO_OUTPUT)]


def test_what_says_nothing_is_left_out() -> None:
    silent = Entry(Item("", "message", "user", parts=[Part("input_audio")]))
    assert prompt_of([silent, said("user", "  ")], ResponseConfig(), ROOMY) == ()


@pytest.mark.parametrize(
    ("truncation", "limit"),
    [
        ("auto", Limit(1000, 1000)),
        ("disabled", Limit(1000, None)),
        ({"type": "retention_ratio", "retention_ratio": 0.5}, Limit(1000, 500)),
        (
            {"type": "retention_ratio", "retention_ratio": 0.5, "token_limits": {"post_instructions": 400}},
            Limit(400, 200),
        ),
    ],
)
def test_the_setting_says_how_much_is_told(truncation: object, limit: Limit) -> None:
    assert limit_of(truncation, 1000) == limit


@pytest.mark.parametrize(("cut_to", "kept"), [(30, 3), (20, 2), (0, 1)])
def test_the_oldest_goes_first_and_the_last_stays(cut_to: int, kept: int) -> None:
    entries = [said("user", "x" * 40) for _ in range(4)]
    assert len(prompt_of(entries, ResponseConfig(), Limit(35, cut_to))) == kept
    with pytest.raises(ContextTooLongError):
        prompt_of(entries, ResponseConfig(), Limit(35, None))


def test_calls_and_outputs_go_together() -> None:
    entries = [call("a"), output("a", "x" * 400), said("user", "hello")]
    assert [m.text for m in prompt_of(entries, ResponseConfig(), Limit(20, 20))] == ["hello"]


def test_tokens_are_estimated() -> None:
    assert [tokens_of("x" * length) for length in (0, 1, 4, 5)] == [0, 1, 1, 2]


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([], False),
        ([said("user", "x")], True),
        ([said("user", "x"), said("assistant", "y")], False),
        ([said("user", "x"), said("assistant", "y"), said("system", "z"), said("user", " ")], False),
        ([call("a"), output("a", "1")], True),
    ],
)
def test_the_last_word_is_the_users_or_not(entries: list[Entry], expected: bool) -> None:
    assert unanswered(entries) is expected
