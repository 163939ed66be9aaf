"""Sums found in speech or typing, worked out exactly: `what is seventeen times three`, `12+30`, `ten percent of fifty`.

Words become tokens by the tables; the longest run of tokens that makes a sum is worked out, so that what surrounds it
may be garbled. Words that sound like numbers (`to`, `for`) count as such beside an operator only.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from services.llm.responder import numbers
from services.llm.responder.words import sentence, spoken

# No sum said aloud has more words; the search below looks at every beginning.
LONGEST_WORDS: Final = 60
# Results beyond this are refused, so that no power fills the memory.
LARGEST: Final = 10**40
LARGEST_EXPONENT: Final = 1000

OPERATORS: Final = {
    ("to", "the", "power", "of"): "^",
    ("to", "the", "power"): "^",
    ("raised", "to"): "^",
    ("multiplied", "by"): "*",
    ("multiplied", "with"): "*",
    ("divided", "by"): "/",
    ("divide", "by"): "/",
    ("take", "away"): "-",
    ("per", "cent", "of"): "%of",
    ("percent", "of"): "%of",
    ("%", "of"): "%of",
    ("per", "cent"): "%",
    ("percent",): "%",
    ("square", "root", "of"): "root",
    ("the", "root", "of"): "root",
    ("a", "third", "of"): "third",
    ("one", "third", "of"): "third",
    ("a", "quarter", "of"): "quarter",
    ("one", "quarter", "of"): "quarter",
    ("half", "of"): "half",
    ("twice",): "twice",
    ("double",): "twice",
    ("triple",): "triple",
    ("squared",): "squared",
    ("cubed",): "cubed",
    ("plus",): "+",
    ("minus",): "-",
    ("negative",): "-",
    ("less",): "-",
    ("times",): "*",
    ("time",): "*",
    ("x",): "*",
    ("over",): "/",
    ("\N{MULTIPLICATION SIGN}",): "*",
    ("\N{DIVISION SIGN}",): "/",
    ("\N{MINUS SIGN}",): "-",
} | {(symbol,): symbol for symbol in "+-*/^%()"}
LONGEST_OPERATOR: Final = 4
SOUNDS_LIKE: Final = {"to": 2, "too": 2, "for": 4, "fore": 4, "won": 1, "ate": 8, "tree": 3, "free": 3}
# verb: operator between its two numbers, and the joining word that swaps them (subtract three from ten)
COMMANDS: Final = {
    "add": "+",
    "sum": "+",
    "subtract": "-",
    "take": "-",
    "difference": "-",
    "multiply": "*",
    "product": "*",
    "divide": "/",
}
SWAPS: Final = "from"
JOINS: Final = frozenset({"and", "to", "by", "with", "from"})
BETWEEN: Final = frozenset({"of", "between", "the"})

SAID: Final = {"+": "plus", "-": "minus", "*": "times", "/": "divided by", "^": "to the power of", "%of": "percent of"}
BINDING: Final = {"+": 1, "-": 1, "*": 3, "/": 3, "%of": 4, "^": 6}
PREFIXES: Final = {
    "half": ("half of", Fraction(1, 2)),
    "third": ("a third of", Fraction(1, 3)),
    "quarter": ("a quarter of", Fraction(1, 4)),
    "twice": ("twice", Fraction(2)),
    "triple": ("three times", Fraction(3)),
}
# `half of ten plus two` is seven; `the square root of nine plus one` is four; so people say it.
PREFIX_BINDING: Final = 5

_TOKEN: Final = re.compile(r"\d+(?:\.\d+)?|[^\W\d_]+(?:'[^\W\d_]+)*|[-+*/^%()\xd7\xf7\u2212]")
_THOUSANDS: Final = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_HYPHEN: Final = re.compile(r"(?<=[a-z])-(?=[a-z])")

Token = Fraction | str
"""A number, an operator of the tables, or a word that is neither."""


class ImpossibleSumError(Exception):
    """The sum has no answer; the message says why, to the person who asked."""


@dataclass(frozen=True, slots=True)
class Term:
    """A part of a sum: its value, how it is said, how many operators are in it."""

    value: Fraction
    said: str
    operators: int = 0
    percent: bool = False


def answer(text: str) -> str | None:
    """Return the answer to the sum in *text* as a sentence, None if there is no sum in it."""
    tokens = _tokens(spoken(text).lower())
    best: Term | None = None
    for start, token in enumerate(tokens):
        if not isinstance(token, Fraction) and token not in PREFIXES and token not in {"root", "-", "("}:
            continue
        try:
            term = Parser(tokens, start).sum()
        except ImpossibleSumError as impossible:
            return str(impossible)
        if term is not None and term.operators > (best.operators if best else 0):
            best = term
    return sentence(f"{best.said} is {numbers.in_words(best.value)}".replace(", is", " is")) if best else None


def _tokens(text: str) -> list[Token]:
    words = _TOKEN.findall(_HYPHEN.sub(" ", _THOUSANDS.sub("", text)))[:LONGEST_WORDS]
    tokens: list[Token] = []
    at = 0
    while at < len(words):
        length, operator = _operator(words, at)
        if length:
            tokens.append(operator)
            at += length
        elif (number := numbers.parse(words, at)) is not None:
            tokens.append(number[0])
            at = number[1]
        else:
            tokens.append(words[at])
            at += 1
    return _commands(_sounds(tokens))


def _operator(words: Sequence[str], at: int) -> tuple[int, str]:
    for length in range(LONGEST_OPERATOR, 0, -1):
        operator = OPERATORS.get(tuple(words[at : at + length]))
        if operator is not None and len(words) - at >= length:
            return length, operator
    return 0, ""


def _sounds(tokens: list[Token]) -> list[Token]:
    """Take words that sound like numbers for numbers where an operator stands beside them."""
    out: list[Token] = []
    for at, token in enumerate(tokens):
        beside = tokens[max(at - 1, 0) : at] + tokens[at + 1 : at + 2]
        if isinstance(token, str) and token in SOUNDS_LIKE and any(other in BINDING for other in beside):
            out.append(Fraction(SOUNDS_LIKE[token]))
        else:
            out.append(token)
    return out


def _commands(tokens: list[Token]) -> list[Token]:
    """Turn `subtract three from ten` into `ten - three`."""
    for at, verb in enumerate(tokens):
        operator = COMMANDS.get(verb) if isinstance(verb, str) else None
        if operator is None:
            continue
        first = at + 1
        while first < len(tokens) and tokens[first] in BETWEEN:
            first += 1
        match tokens[first : first + 3]:
            case [Fraction() as left, str(join), Fraction() as right] if join in JOINS:
                pair: list[Token] = [right, operator, left] if join == SWAPS else [left, operator, right]
                return tokens[:at] + pair + tokens[first + 3 :]
    return tokens


class Parser:
    """Reads one sum from *tokens*, beginning at *at*, by operator precedence."""

    def __init__(self, tokens: list[Token], at: int) -> None:
        self._tokens = tokens
        self._at = at

    def sum(self, binding: int = 0) -> Term | None:
        """Return the longest sum whose operators bind tighter than *binding*, None if no number begins here.

        Raises:
            ImpossibleSumError: it has no answer.
        """
        left = self._first()
        while left is not None:
            before = self._at
            left = self._postfix(left)
            if self._at > before:
                continue
            operator = self._peek()
            if not isinstance(operator, str) or BINDING.get(operator, 0) <= binding:
                break
            self._at += 1
            # A power binds to its right: two to the power of three to the power of two is 512.
            right = self.sum(BINDING[operator] - (operator == "^"))
            if right is None:
                self._at = before
                break
            left = _applied(operator, left, right)
        return left

    def _peek(self) -> Token | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _first(self) -> Term | None:
        token = self._peek()
        self._at += 1
        if isinstance(token, Fraction):
            return Term(token, numbers.in_words(token))
        match token:
            case "(":
                return self._bracket()
            case "-":
                return self._prefixed(lambda term: Term(-term.value, f"minus {term.said}", term.operators))
            case "root":
                return self._prefixed(_root)
            case str() if token in PREFIXES:
                said, factor = PREFIXES[token]
                return self._prefixed(lambda t: Term(factor * t.value, f"{said} {t.said}", t.operators + 1))
            case _:
                return None

    def _bracket(self) -> Term | None:
        inner = self.sum()
        if inner is None or self._peek() != ")":
            return None
        self._at += 1
        return Term(inner.value, f"the result of {inner.said},", inner.operators) if inner.operators else inner

    def _prefixed(self, apply: Callable[[Term], Term]) -> Term | None:
        inner = self.sum(PREFIX_BINDING)
        return apply(inner) if inner else None

    def _postfix(self, term: Term) -> Term:
        match self._peek():
            case "%":
                made = Term(term.value / 100, f"{term.said} percent", term.operators, percent=True)
            case "squared":
                made = Term(_power(term.value, Fraction(2)), f"{term.said} squared", term.operators + 1)
            case "cubed":
                made = Term(_power(term.value, Fraction(3)), f"{term.said} cubed", term.operators + 1)
            case _:
                return term
        self._at += 1
        return made


def _applied(operator: str, left: Term, right: Term) -> Term:
    a, b = left.value, right.value
    if right.percent and operator in "+-":  # fifty plus ten percent is fifty-five
        b *= a
    match operator:
        case "+":
            value = a + b
        case "-":
            value = a - b
        case "*":
            value = a * b
        case "/":
            if b == 0:
                raise ImpossibleSumError("Nothing can be divided by zero.")
            value = a / b
        case "%of":
            value = a * b / 100
        case _:
            value = _power(a, b)
    if abs(value) > LARGEST:
        raise ImpossibleSumError("That number is too large for me.")
    said = f"{left.said} {SAID[operator]} {right.said}"
    return Term(value, said, left.operators + right.operators + 1)


def _power(value: Fraction, exponent: Fraction) -> Fraction:
    if value == 0 and exponent < 0:
        raise ImpossibleSumError("Nothing can be divided by zero.")
    size = max(abs(value.numerator), value.denominator)
    if abs(exponent) > LARGEST_EXPONENT or float(abs(exponent)) * math.log10(max(size, 1)) > math.log10(LARGEST):
        raise ImpossibleSumError("That number is too large for me.")
    if exponent.denominator == 1:
        return value ** int(exponent)
    if value < 0:
        raise ImpossibleSumError("That has no answer among the real numbers.")
    return Fraction(float(value) ** float(exponent))


def _root(term: Term) -> Term:
    if term.value < 0:
        raise ImpossibleSumError("A negative number has no real square root.")
    above, below = math.isqrt(term.value.numerator), math.isqrt(term.value.denominator)
    exact = Fraction(above, below)
    value = exact if exact * exact == term.value else Fraction(math.sqrt(term.value))
    return Term(value, f"the square root of {term.said}", term.operators + 1)
