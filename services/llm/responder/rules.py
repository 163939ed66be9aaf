"""The table of what the responder understands, first match first: a pattern over plain words, and who answers.

Patterns look for a few words anywhere, because a third of the words may be garbled; `longest` keeps them from being
found in sentences that are about something else.
"""

import re
from dataclasses import dataclass
from typing import Final

from services.llm.responder import arithmetic, calendar, memory, smalltalk
from services.llm.responder.turn import Answer, Turn
from services.llm.responder.words import clipped, is_question, plain, sentence, shortened, spoken

ASK_TO_REPEAT: Final = "I did not catch that. Could you say it again?"
WHO: Final = (
    "I am a small rule-based responder without a language model. To get better answers, start the suite with another "
    "LLM engine."
)
WHAT: Final = (
    "I can tell the time and the date, do arithmetic, repeat after you, remember what you told me, flip a coin, and "
    "tell a joke. I am only a set of rules."
)
SMALL: Final = "I am only a small rule-based responder, so"


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table. *before_tools*: goes ahead of the client's tools, too."""

    name: str
    pattern: re.Pattern[str]
    answer: Answer
    longest: int
    before_tools: bool = False


def respond(turn: Turn, *, before_tools: bool = False) -> str | None:
    """Return the answer of the first rule that has one; with *before_tools* only of those that precede tools."""
    length = len(turn.plain.split())
    for rule in RULES:
        if length > rule.longest or (before_tools and not rule.before_tools):
            continue
        match = rule.pattern.search(turn.plain)
        answer = rule.answer(turn, match) if match else None
        if answer is not None:
            return answer
    return None


def fallback(turn: Turn) -> str:
    """Say honestly that nothing more can be done with what was said than to repeat it."""
    if not turn.plain:
        return ASK_TO_REPEAT
    cannot = "I cannot look that up." if is_question(turn.text) else "I can only say it back."
    return f"You said: {shortened(turn.text)}. {SMALL} {cannot}"


def _fixed(text: str) -> Answer:
    return lambda _turn, _match: text


def _one_of(*texts: str) -> Answer:
    return lambda turn, _match: smalltalk.fresh(texts, turn.answered, turn.rng)


def _repeat_after(turn: Turn, _match: re.Match[str]) -> str | None:
    # Taken from the text as it was written: what is repeated keeps its capitals and commas.
    found = smalltalk.REPEAT.search(spoken(turn.text))
    return sentence(clipped(found["words"], words=60, chars=500)) if found and plain(found["words"]) else None


def _said_again(turn: Turn, _match: re.Match[str]) -> str:
    return turn.answered[0] if turn.answered else "I have not said anything yet."


def _said_before(turn: Turn, _match: re.Match[str]) -> str:
    told = [text for text in turn.told if plain(text)]
    return f"You said: {shortened(told[0])}." if told else "You have not said anything before that."


def _remember(turn: Turn, match: re.Match[str]) -> str | None:
    fact = memory.fact_in(match.string)
    if fact is None or is_question(turn.text):
        return None
    if fact.thing == "name":
        return f"Nice to meet you, {fact.value}."
    return f"I will remember that your {fact.thing} {fact.verb} {fact.value}."


def _recall(turn: Turn, match: re.Match[str]) -> str:
    thing = match["thing"] or "name"
    fact = memory.recall(thing, [plain(text) for text in turn.told])
    if fact is None:
        return f"You have not told me your {thing}."
    return f"Your {thing} {fact.verb} {fact.value}."


def _sum(turn: Turn, _match: re.Match[str]) -> str | None:
    return arithmetic.answer(turn.text)


def _clock(turn: Turn, match: re.Match[str]) -> str:
    elsewhere = calendar.PLACE.search(match.string)
    time = calendar.time_of_day(turn.now)
    return f"I only know the time here. It is {time}." if elsewhere else f"It is {time}."


def _day(turn: Turn, match: re.Match[str]) -> str:
    return calendar.day_asked_for(match.string, turn.now)


def _rule(name: str, pattern: str, answer: Answer, longest: int = 12, *, before_tools: bool = False) -> Rule:
    return Rule(name, re.compile(rf"\b(?:{pattern})\b"), answer, longest, before_tools)


NO_BOUND: Final = 10_000
RULES: Final = (
    _rule("repeat after me", smalltalk.REPEAT_AFTER, _repeat_after, NO_BOUND, before_tools=True),
    _rule(
        "say again",
        r"(?:repeat|say) (?:that|it|this)(?: (?:again|please|once more))*$|what did you (?:just )?say|come again"
        r"|pardon(?: me)?$",
        _said_again,
        8,
        before_tools=True,
    ),
    _rule(
        "what did i say",
        r"what (?:have |had |did |was |is |do |where )?(?:it )?(?:i|a) (?:just |have |last )?(?:say|said|says|tell|told"
        r"|ask|asked)\b|(?:my|the) (?:last|previous|first) (?:question|sentence|words)|what was my question",
        _said_before,
        10,
    ),
    _rule("say", "^" + smalltalk.SAY, _repeat_after, 60),
    _rule(
        "recall",
        r"(?:what|who|when|where|one|do you (?:know|remember|recall)|tell me|remember)(?: is| are| was)?(?: what)?"
        r" my (?P<thing>[\w']+(?: [\w']+){0,3}?)(?: is| was| again| please)?$|(?:who am i|do you know me)$",
        _recall,
        10,
    ),
    _rule("remember", r"my [\w' ]{1,40}? (?:is|are)|(?:you can |please )?call me|i am called", _remember, 14),
    _rule("arithmetic", r".*", _sum, 40),
    _rule(
        "time",
        r"what time(?: is it\b.*| is| now| please)?$|(?:what|one|tell me|know|have|got|say|give me)(?: is| you)? the "
        r"(?:current |exact )?time\b(?! (?:of|when|zone|difference|that))|what is time$|time (?:is it|it is)"
        r"|(?:current|local) time|o'clock is it|^(?:the )?time(?: please| now)?$",
        _clock,
    ),
    _rule(
        "date",
        r"(?:what|which|one) (?:date|day|weekday|month|year)(?: of the week)?"
        r"(?: (?:is|was) (?:it|today|tomorrow|yesterday|now|this|the day)\b.*| are we.*| do we have.*| today"
        r"| tomorrow)?$"
        r"|(?:what|one|tell me|know|it|give me|say)(?: is| you)? (?:the|today'?s) (?:current )?(?:date|day|weekday"
        r"|month|year)(?: of the week| today| tomorrow| now| please| is it)*$"
        r"|(?:date|day|weekday|month|year) is (?:it|today)|today's date|date today"
        r"|what is (?:today|tomorrow)$|what (?:is|was) the day (?:after|before)\b.*",
        _day,
    ),
    _rule(
        "who are you",
        r"(?:who|what|here|how old) are you$|(?:who|what) you are|your name"
        r"|are you (?:an? )?(?:real|human|robot|person|machine|computer|bot|ai|chat ?gpt|language model|alexa|siri"
        r"|model|assistant|intelligent|smart)|who (?:made|built|wrote) you|who is (?:speaking|this|there)$"
        r"|what (?:kind of )?(?:language model|model|engine)|about yourself|introduce yourself",
        _fixed(WHO),
    ),
    _rule(
        "what can you do",
        r"what (?:can|could|do|else can|things can) you (?:do|help|know|offer|say)|what can i (?:ask|say|do)|can you do"
        r"|(?:can|could) you help(?: me)?|how can you help|^help(?: me)?(?: please)?$|what are you (?:able|good|for)"
        r"|your (?:skills|abilities|features)|i need help$",
        _fixed(WHAT),
        10,
    ),
    _rule("joke", r"jokes?|make me laugh|something funny|be funny", _one_of(*smalltalk.JOKES), 10),
    _rule("fact", r"(?:fun|a|another|some|random|interesting) facts?|something interesting", _one_of(*smalltalk.FACTS)),
    _rule("coin", r"flip (?:(?:a|the|another|me a) )?\w+$|(?:flip|toss).* coin|heads or tails", smalltalk.coin, 8),
    _rule("dice", r"(?:roll|throw|cast).* (?:die|dies|dye)|dice", smalltalk.dice, 8),
    _rule(
        "number",
        r"(?:pick|choose|give me|think of|tell me) (?:a |any |one )?(?:random |lucky )?number|random number",
        smalltalk.number,
    ),
    _rule("count", r"count (?:up |down )?(?:to|from) .+", smalltalk.count_up, 10),
    _rule("spell", r"spell (?:the word )?(?P<word>[\w']+)$", smalltalk.spell, 8),
    _rule(
        "can you hear me",
        r"(?:can|do|could) (?:you|ya) (?:hear|here|understand) (?:me|may)|are you (?:there|listening|awake)"
        r"|is (?:anybody|anyone|somebody) there|^testing\b|mic(?:rophone)? (?:test|check)",
        _fixed("Yes, I can hear you."),
        8,
    ),
    _rule("how are you", smalltalk.HOW_ARE_YOU, _one_of(*smalltalk.FINE), 9),
    _rule(
        "thanks",
        r"thanks|thank (?:you|ya)|cheers|much appreciated",
        _one_of(*smalltalk.WELCOME),
        7,
        before_tools=True,
    ),
    _rule(
        "goodbye",
        r"good ?bye|bye|see (?:you|ya)(?: later| soon| tomorrow| around)?|good night|farewell|talk to you later"
        r"|have a (?:nice|good|great) (?:day|evening|weekend|one)|that is all(?: for now)?$",
        _one_of(*smalltalk.GOODBYES),
        7,
    ),
    _rule(
        "greeting",
        r"^(?:oh |well |ok )?(?:hello|hallo|hullo|hi|hey|howdy|greetings|good (?:morning|afternoon|evening|day))"
        r"|what is up$|nice to meet you",
        smalltalk.greeting,
        4,
    ),
    _rule("praise", smalltalk.PRAISE, _fixed("That is kind of you."), 7),
    _rule("blame", smalltalk.BLAME, _fixed("I am sorry. I am only a set of rules, but I try."), 7),
    _rule("sorry", r"(?:i am |so )?sorry|excuse me|my (?:mistake|bad)", _fixed("No problem at all."), 5),
    _rule(
        "stop",
        r"^(?:please |ok |okay )?(?:stop|never ?mind|forget it|cancel|be quiet|shut up|silence|wait|hold on)"
        r"(?: please| it| that| talking)?$",
        _fixed("All right."),
        5,
    ),
    _rule(
        "yes",
        r"^(?:yes|yeah|yep|sure|okay|ok|right|alright|of course|correct|exactly|fine|good|great)(?: please)?$",
        _fixed("Good. What can I do for you?"),
        3,
    ),
    _rule("no", r"^(?:no|nope|nah|not really|not now)(?: thanks?)?(?: you)?$", _fixed("All right."), 4),
)
