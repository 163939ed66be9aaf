"""Conversations as tokens."""

from dataclasses import replace
from typing import Any

import pytest

from bus.errors import InvalidRequestError
from services.llm.engine import Call, Image, Message, Mode, Request, Tool
from services.llm.local.loading import Loaded
from services.llm.local.prompt import Writer
from tests.services.llm.asking import assistant, output, talk, user

# What most templates are like, in short.
CHAT = (
    "{%- if tools %}TOOLS {{ tools | tojson }}\n{% endif %}"
    "{%- for m in messages %}<|{{ m.role }}|>{{ m.content }}"
    "{%- for call in m.tool_calls %}CALL {{ call.function.name }} {{ call.function.arguments | tojson }}{% endfor %}\n"
    "{%- endfor %}<|assistant|>{% if think %}<think>\n{% endif %}"
)
# What some are like: they know no system message, and two in turn.
STRICT = (
    "{%- for m in messages %}{%- if m.role != ['user', 'assistant'][loop.index0 % 2] %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}<|{{ m.role }}|>{{ m.content }}\n{% endfor %}"
)
TIMER = Tool("timer", "Set a timer", {"type": "object", "properties": {}})


class Writing:
    """A writer with *template*, and what it wrote."""

    def __init__(self, stories: Loaded, template: Any, context: int = 400, **extra: Any) -> None:
        self._tokenizer = stories.tokenizer
        self._template = template
        self._tokenizer.chat_template = template
        self.writer = Writer(self._tokenizer, context, extra)
        self._tokenizer.chat_template = None

    def text(self, request: Request, answer_tokens: int = 10) -> str:
        written: str = self._tokenizer.decode(self.writer.write(request, answer_tokens).tokens)
        return written


def test_a_model_without_a_template_gets_a_plain_one(stories: Loaded) -> None:
    writing = Writing(stories, None)
    request = replace(talk("Hi.", "Hello.", "Who are you?"), instructions="Be brief.")
    said = "System: Be brief.\nUser: Hi.\nAssistant: Hello.\nUser: Who are you?\nAssistant:"
    assert writing.text(request) == "<s> " + said
    assert (writing.writer.plain, writing.writer.tools) == (True, False)


def test_tools_calls_and_outputs_go_through_the_template(stories: Loaded) -> None:
    call = Call("call_1", "timer", '{"minutes": 5}')
    request = Request(messages=(user("Five minutes."), assistant("", call), output("set")), tools=(TIMER,))
    writing = Writing(stories, CHAT)
    text = writing.text(request)
    assert text.startswith('TOOLS [{"type": "function", "function": {"name": "timer"')
    assert '<|assistant|>CALL timer {"minutes": 5}<|tool|>set' in text
    assert writing.writer.tools


def test_a_tool_that_must_not_be_called_is_not_told_and_one_that_must_is_told_alone(stories: Loaded) -> None:
    writing = Writing(stories, CHAT)
    request = replace(talk("Hi."), tools=(TIMER, Tool("clock")))
    assert "TOOLS" not in writing.text(replace(request, tool_choice=Mode.NONE))
    named = writing.text(replace(request, tool_choice=Mode.NAMED, tool_name="clock"))
    assert "clock" in named
    assert "timer" not in named


def test_a_template_with_roles_that_alternate_gets_them_alternating(stories: Loaded) -> None:
    request = Request(instructions="Be brief.", messages=(user("Hi."), user("Hello?"), assistant("Yes."), user("Who?")))
    said = "<|user|>Be brief.\n\nHi.\n\nHello?\n<|assistant|>Yes.\n<|user|>Who?\n"
    assert Writing(stories, STRICT).text(request) == said


def test_a_template_that_refuses_everything_is_an_error_of_the_request(stories: Loaded) -> None:
    with pytest.raises(InvalidRequestError, match="chat template"):
        Writing(stories, "{{ raise_exception('no') }}").text(talk("Hi."))


def test_a_tool_template_is_taken_for_tools(stories: Loaded) -> None:
    writing = Writing(stories, {"default": "plain {{ messages[0].content }}", "tool_use": CHAT})
    assert writing.text(talk("Hi.")) == "plain Hi."
    assert writing.text(talk("Hi.", tools=(TIMER,))).startswith("TOOLS")


def test_options_reach_the_template_and_an_open_thought_is_seen(stories: Loaded) -> None:
    assert Writing(stories, CHAT, think=True).writer.write(talk("Hi."), 10).thinking
    assert not Writing(stories, CHAT).writer.write(talk("Hi."), 10).thinking


@pytest.mark.parametrize("context", range(60, 200, 7))
def test_the_oldest_exchanges_are_left_out_and_the_instructions_stay(stories: Loaded, context: int) -> None:
    texts = [f"message {number}" for number in range(9)]
    writing = Writing(stories, CHAT, context)
    request = replace(talk(*texts), instructions="Be brief.")
    prompt = writing.writer.write(request, 10)
    assert len(prompt.tokens) <= context - 10
    assert writing.writer.room_behind(prompt) == context - len(prompt.tokens)
    text = stories.tokenizer.decode(prompt.tokens)
    kept = [said for said in texts if said in text]
    assert text.startswith(f"<|system|>Be brief.<|user|>{kept[0]}")
    assert kept == texts[-len(kept) :]
    more = replace(request, messages=request.messages[-len(kept) - 2 :])
    assert len(kept) == len(texts) or len(Writing(stories, CHAT, 1000).writer.write(more, 10).tokens) > context - 10


def test_a_long_answer_gets_half_of_the_context(stories: Loaded) -> None:
    prompt = Writing(stories, CHAT, 200).writer.write(talk(*["some words"] * 99), 10_000)
    assert 80 < len(prompt.tokens) <= 100


def test_what_must_stay_and_does_not_fit_is_refused(stories: Loaded) -> None:
    with pytest.raises(InvalidRequestError, match=r"the last message have \d+ tokens, 90 fit: see --context_tokens"):
        Writing(stories, CHAT, 100).text(talk("Hi.", "Hello.", "word " * 200))


@pytest.mark.parametrize(
    "request_",
    [
        Request(),
        Request(messages=(output("an output without its call"),)),
        Request(messages=(Message(user("").author, (Image("data:,"), "what is this?")),)),
        Request(messages=(assistant("", Call("c", "timer", "no JSON")),)),
        talk("a\x00b \N{GRINNING FACE}"),
    ],
)
@pytest.mark.parametrize("template", [None, CHAT, STRICT])
def test_whatever_was_said_can_be_written(stories: Loaded, request_: Request, template: str | None) -> None:
    assert Writing(stories, template).writer.write(request_, 10).tokens
