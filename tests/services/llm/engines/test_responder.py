"""The rule-based responder, utterance by utterance: as typed, as recognised, and as garbled by a recogniser."""

import random
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bus.errors import ConfigurationError
from services.llm.engine import Author, Call, Done, Image, Message, Mode, Reason, Request, Tool
from services.llm.engines.responder import Engine, Settings
from services.llm.responder.conversation import NO_EYES, WELCOME
from services.llm.responder.rules import ASK_TO_REPEAT, WHAT, WHO
from services.llm.responder.smalltalk import FACTS, FINE, GOODBYES, JOKES
from services.llm.responder.smalltalk import WELCOME as YOU_ARE_WELCOME
from tests.services.llm.asking import ask, assistant, output, talk, user

NOW = datetime(2025, 11, 23, 15, 5, tzinfo=UTC)
TIME = "It is three oh five in the afternoon."
DATE = "Today is Sunday, November twenty-third, twenty twenty-five."
DAY = "Today is Sunday, November twenty-third."
HELLO = "Hello! How can I help you?"
NO_LOOK_UP = "I am only a small rule-based responder, so I cannot look that up."
SAY_BACK = "I am only a small rule-based responder, so I can only say it back."


@pytest.fixture
def engine() -> Engine:
    return Engine(Settings(), now=lambda: NOW, rng=random.Random(7))


ANSWERS: list[tuple[str, str | tuple[str, ...]]] = [
    ("hello", HELLO),
    ("Hello!", HELLO),
    ("hi there", HELLO),
    ("good morning", "Good morning! How can I help you?"),
    ("hey", HELLO),
    ("how are you", FINE),
    ("how are you doing today", FINE),
    ("hello how are you", FINE),
    ("how are ya", FINE),
    ("who are you", WHO),
    ("here are you", WHO),  # pocketsphinx for "who are you"
    ("what are you", WHO),
    ("What's your name?", WHO),
    ("are you a robot", WHO),
    ("how old are you", WHO),
    ("what can you do", WHAT),
    ("can you help me", WHAT),
    ("help", WHAT),
    ("what time is it", TIME),
    ("what is the time", TIME),
    ("could you tell me the time please", TIME),
    ("do you know what time it is", TIME),
    ("What time is it in Tokyo?", "I only know the time here. It is three oh five in the afternoon."),
    ("what is the date", DATE),
    ("what's today's date", DATE),
    ("what is the day", DATE),  # pocketsphinx for "what is the date"
    ("what day is it today", DAY),
    ("which day of the week is it", DAY),
    ("what day is tomorrow", "Tomorrow is Monday, November twenty-fourth."),
    ("what year is it", "It is twenty twenty-five."),
    ("what month is it", "It is November."),
    ("what is seventeen times three", "Seventeen times three is fifty-one."),
    ("one is seventeen times three", "Seventeen times three is fifty-one."),  # pocketsphinx
    ("What is 17 * 3?", "Seventeen times three is fifty-one."),
    ("how much as fifty minus eight", "Fifty minus eight is forty-two."),  # pocketsphinx
    ("ten divided by zero", "Nothing can be divided by zero."),
    ("repeat after me the sky is blue", "The sky is blue."),
    ("Repeat after me: Hello, World!", "Hello, World!"),
    ("repeat after may the skies uglier", "The skies uglier."),
    ("please say good morning", "Good morning."),
    ("my name is anna", "Nice to meet you, Anna."),
    ("hello my name is john smith and i like tea", "Nice to meet you, John Smith."),
    ("call me ishmael", "Nice to meet you, Ishmael."),
    ("what is my name", "You have not told me your name."),
    ("my favorite color is blue", "I will remember that your favorite color is blue."),
    ("what did i say", "You have not said anything before that."),
    ("can you repeat that", "I have not said anything yet."),
    ("tell me a joke", JOKES),
    ("make me laugh", JOKES),
    ("tell me a fun fact", FACTS),
    ("flip a coin", ("It is heads.", "It is tails.")),
    ("flip the client", ("It is heads.", "It is tails.")),  # pocketsphinx
    ("count to five", "One, two, three, four, five."),
    ("count from three to one", "Three, two, one."),
    ("spell cat", "C, A, T."),
    ("thank you very much", YOU_ARE_WELCOME),
    ("thanks", YOU_ARE_WELCOME),
    ("goodbye", GOODBYES),
    ("see ya later", GOODBYES),  # pocketsphinx
    ("hello can you hear me", "Yes, I can hear you."),
    ("you are very funny", "That is kind of you."),
    ("never mind", "All right."),
    ("yes", "Good. What can I do for you?"),
    ("no thanks", YOU_ARE_WELCOME),
    ("how old is the brooklyn bridge", f"You said: how old is the brooklyn bridge. {NO_LOOK_UP}"),
    ("what is the weather in paris", f"You said: what is the weather in paris. {NO_LOOK_UP}"),
    ("what year was the bridge built", f"You said: what year was the bridge built. {NO_LOOK_UP}"),
    ("what time does the train leave", f"You said: what time does the train leave. {NO_LOOK_UP}"),
    ("how do you get to london", f"You said: how do you get to london. {NO_LOOK_UP}"),
    ("book a room", f"You said: book a room. {SAY_BACK}"),
    ("want to three", f"You said: want to three. {SAY_BACK}"),  # pocketsphinx for "one two three"
    (
        "and all my fellow america and not like your kind brain and over you and what you can do for your lovely",
        f"You said: and all my fellow america and not like your kind brain and, and so on. {SAY_BACK}",
    ),
    ("Wie alt ist die Brücke", f"You said: Wie alt ist die Brücke. {SAY_BACK}"),
    ("\u4f60\u597d\u5417", f"You said: \u4f60\u597d\u5417. {SAY_BACK}"),
    ("", ASK_TO_REPEAT),
    ("   ", ASK_TO_REPEAT),
    ("uh um", ASK_TO_REPEAT),
    ("[NOISE]", ASK_TO_REPEAT),
    ("\N{WAVING HAND SIGN}", ASK_TO_REPEAT),
]


@pytest.mark.parametrize(("said", "answer"), ANSWERS, ids=[said[:40] for said, _ in ANSWERS])
async def test_each_utterance_has_its_answer(engine: Engine, said: str, answer: str | tuple[str, ...]) -> None:
    given = (await ask(engine, talk(said))).text
    assert given in ((answer,) if isinstance(answer, str) else answer)


CONVERSATIONS = [
    (("my name is anna", "Nice to meet you, Anna.", "what is my name"), "Your name is Anna."),
    (("my name is anna", "Hi.", "my name is bob", "Hi.", "who am i"), "Your name is Bob."),
    (("my favourite colour is dark blue", "Fine.", "what is my favorite color"), "Your favorite color is dark blue."),
    (("my dog is called rex", "Fine.", "what's my dog's name"), "You have not told me your dog's name."),
    (("my dog is called rex", "Fine.", "who is my dog"), "Your dog is rex."),
    (("book a room", "I cannot.", "what did i say"), "You said: book a room."),
    (("book a room", "I cannot.", "what did i just say"), "You said: book a room."),
    (("hello", "Good day to you.", "can you say that again"), "Good day to you."),
    (("hello", "Good day to you.", "what did you say"), "Good day to you."),
]


@pytest.mark.parametrize(("said", "answer"), CONVERSATIONS, ids=[" / ".join(said) for said, _ in CONVERSATIONS])
async def test_it_remembers_the_conversation(engine: Engine, said: tuple[str, ...], answer: str) -> None:
    assert (await ask(engine, talk(*said))).text == answer


async def test_a_joke_told_already_is_not_told_again(engine: Engine) -> None:
    told = [text for joke in JOKES[:-1] for text in ("tell me a joke", joke)]
    assert (await ask(engine, talk(*told, "tell me a joke"))).text == JOKES[-1]


async def test_dice_and_numbers_stay_within_their_bounds(engine: Engine) -> None:
    dice = {(await ask(engine, talk("roll a dice"))).text for _ in range(100)}
    assert dice == {f"I rolled a {n}." for n in ("one", "two", "three", "four", "five", "six")}
    picked = {(await ask(engine, talk("pick a number between three and five"))).text for _ in range(50)}
    assert picked == {"I pick three.", "I pick four.", "I pick five."}
    assert "which makes" in (await ask(engine, talk("roll two dice"))).text


async def test_a_conversation_without_a_user_is_greeted(engine: Engine) -> None:
    assert (await ask(engine, Request())).text == WELCOME
    assert (await ask(engine, Request(messages=(Message(Author.SYSTEM, ("be nice",)),)))).text == WELCOME


async def test_a_picture_alone_is_not_pretended_to_be_seen(engine: Engine) -> None:
    seen = Message(Author.USER, (Image("data:image/png;base64,AAAA"),))
    assert (await ask(engine, Request(messages=(seen,)))).text == NO_EYES


@pytest.mark.parametrize(
    "instructions",
    [
        "Say exactly: Welcome to the museum.",
        "You are a guide.\n  say exactly: \u201cWelcome to the museum.\u201d\nBe nice.",
        'Reply with exactly: "Welcome to the museum."',
    ],
)
async def test_a_directive_to_say_something_exactly_is_followed(engine: Engine, instructions: str) -> None:
    request = Request(instructions=instructions, messages=(user("hello"),))
    assert (await ask(engine, request)).text == "Welcome to the museum."


async def test_other_instructions_change_nothing(engine: Engine) -> None:
    request = Request(instructions="You are a pirate. Never say exactly what you know.", messages=(user("hello"),))
    assert (await ask(engine, request)).text == HELLO


WEATHER = Tool(
    "get_weather",
    "Get the weather for a city",
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)


async def test_a_tool_whose_words_match_is_called(engine: Engine) -> None:
    answer = await ask(engine, talk("what is the weather in paris", tools=(WEATHER,)))
    assert [(call.name, call.arguments) for call in answer.calls] == [("get_weather", '{"city": "Paris"}')]
    assert answer.text == ""
    assert answer.done is not None
    assert answer.done.reason is Reason.TOOL_CALLS


async def test_what_a_tool_needs_is_asked_for(engine: Engine) -> None:
    answer = await ask(engine, talk("what is the weather", tools=(WEATHER,)))
    assert (answer.text, answer.calls) == ("Which city do you mean?", [])


async def test_the_outputs_of_tools_are_spoken(engine: Engine) -> None:
    call = Call("call_1", "get_weather", '{"city": "Paris"}')
    messages = (user("weather in paris"), assistant("", call), output('{"sky": "clear"}'), output("Warm"))
    for choice in Mode.AUTO, Mode.REQUIRED:
        answer = await ask(engine, Request(messages=messages, tools=(WEATHER,), tool_choice=choice))
        assert (answer.text, answer.calls) == ("The sky is clear. Warm.", [])


async def test_thanks_for_the_weather_is_no_wish_for_more(engine: Engine) -> None:
    assert (await ask(engine, talk("thanks for the weather", tools=(WEATHER,)))).text in YOU_ARE_WELCOME


@pytest.mark.parametrize(
    "text", ["word " * 20_000, "x" * 100_000, "1 + " * 25_000, "(" * 100_000, "what is my " * 9000, "é\u0301" * 50_000]
)
async def test_very_long_input_is_answered_in_short(engine: Engine, text: str) -> None:
    answer = await ask(engine, talk(text, tools=(WEATHER,)))
    assert 0 < len(answer.text) < 1000


async def test_usage_is_counted_in_words(engine: Engine) -> None:
    answer = await ask(engine, Request(instructions="be nice", messages=(user("what time is it"),)))
    assert answer.done is not None
    assert (answer.done.usage.input_tokens, answer.done.usage.output_tokens) == (6, len(TIME.split()))


async def test_every_recording_has_an_answer_fit_for_speech(engine: Engine, speech: Path) -> None:
    lines = (speech / "transcripts.tsv").read_text().splitlines()[1:]
    for line in lines:
        answer = (await ask(engine, talk(line.split("\t")[3]))).text
        assert 0 < len(answer.split()) < 40


async def test_a_time_zone_moves_the_clock_and_an_unknown_one_is_named() -> None:
    engine = Engine(Settings(timezone="UTC"))
    await engine.load()
    assert isinstance((await ask(engine, talk("what time is it"))).done, Done)
    with pytest.raises(ConfigurationError, match="Mars/Olympus"):
        await Engine(Settings(timezone="Mars/Olympus")).load()
