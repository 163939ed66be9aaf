"""Numbers to English words and back."""

# ruff: noqa: PLR2004, SIM905 - ten is ten, and a list of words is read as one

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Final

SMALL: Final = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
).split()
TENS: Final = "twenty thirty forty fifty sixty seventy eighty ninety".split()
SCALES: Final = {
    "quintillion": 10**18,
    "quadrillion": 10**15,
    "trillion": 10**12,
    "billion": 10**9,
    "million": 10**6,
    "thousand": 10**3,
}
VALUES: Final = (
    {word: value for value, word in enumerate(SMALL)}
    | {word: 10 * value for value, word in enumerate(TENS, start=2)}
    | {"fourty": 40, "nought": 0, "naught": 0}
)
PARTS: Final = {"half": Fraction(1, 2), "quarter": Fraction(1, 4), "third": Fraction(1, 3)}
ORDINALS: Final = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
# Longer runs of digits are codes rather than numbers.
DIGITS: Final = re.compile(r"\d{1,15}(?:\.\d{1,15})?")
LARGEST: Final = 10**21 - 1
# Decimals said of a fraction; a small one gets enough of them to show three digits that are not zero.
DECIMALS: Final = 4
MOST_DECIMALS: Final = 12


def in_words(value: int | Fraction) -> str:
    """Return *value* as it is said: `minus twenty-one`, `three point one four`, `about zero point three three`.

    Fractions are rounded; `about` says so.
    """
    value = Fraction(value)
    size = abs(value)
    if size > LARGEST:
        return "about " + _sign(value) + f"a number with {in_words(len(str(int(size))))} digits"
    decimals = DECIMALS
    while size and size * 10**decimals < 100 and decimals < MOST_DECIMALS:
        decimals += 1
    rounded = round(size, decimals)
    if size and not rounded:
        return "almost zero"
    digits = f"{int((rounded - int(rounded)) * 10**decimals):0{decimals}d}".rstrip("0")
    point = " point " + " ".join(SMALL[int(digit)] for digit in digits) if digits else ""
    return ("" if rounded == size else "about ") + _sign(value) + _whole(int(rounded)) + point


def ordinal(value: int) -> str:
    """Return the ordinal of *value*: `twenty-third`."""
    head, dash, last = in_words(value).rpartition("-")
    if last in ORDINALS:
        return head + dash + ORDINALS[last]
    return head + dash + (last[:-1] + "ieth" if last.endswith("y") else last + ("h" if last.endswith("t") else "th"))


def year(value: int) -> str:
    """Return a year as it is said: `twenty twenty-five`, `nineteen oh five`, `two thousand six`."""
    century, rest = divmod(value, 100)
    if not 1000 <= value <= 9999 or (century % 10 == 0 and rest < 10):
        return in_words(value)
    if rest == 0:
        return f"{in_words(century)} hundred"
    return f"{in_words(century)} {'oh ' if rest < 10 else ''}{in_words(rest)}"


def parse(words: Sequence[str], at: int) -> tuple[Fraction, int] | None:
    """Return the number that begins at *words[at]*, in words or digits, and the place after it; None: no number."""
    found = _scaled(words, at)
    if found is None:
        return _decimals(Fraction(0), words, at)
    value, at = found
    if _word(words, at) == "and" and _word(words, at + 1) in {"a", "one"} and _word(words, at + 2) in PARTS:
        return value + PARTS[words[at + 2]], at + 3
    return _decimals(value, words, at) or (value, at)


def _sign(value: Fraction) -> str:
    return "minus " if value < 0 else ""


def _whole(value: int) -> str:
    if value < 20:
        return SMALL[value]
    if value < 100:
        return TENS[value // 10 - 2] + (f"-{SMALL[value % 10]}" if value % 10 else "")
    unit, name = 100, "hundred"
    for word, scale in SCALES.items():
        if value >= scale:
            unit, name = scale, word
            break
    rest = value % unit
    return f"{_whole(value // unit)} {name}" + (f" {_whole(rest)}" if rest else "")


def _word(words: Sequence[str], at: int) -> str:
    return words[at] if 0 <= at < len(words) else ""


def _scaled(words: Sequence[str], at: int) -> tuple[Fraction, int] | None:
    """Read groups with falling scales: two million | three hundred thousand | and five."""
    found = _group(words, at)
    if found is None:
        return None
    total = Fraction(0)
    last_scale = LARGEST
    while True:
        group, after = found
        scale = SCALES.get(_word(words, after), 1)
        if scale == 1 or scale >= last_scale:
            return total + group, after
        total += group * scale
        last_scale = scale
        after += 1
        found = _smaller_group(words, after, last_scale) or _smaller_group(words, after + 1, last_scale, skipped="and")
        if found is None:
            return total, after


def _smaller_group(words: Sequence[str], at: int, scale: int, skipped: str = "") -> tuple[Fraction, int] | None:
    """Read the group that goes on after *scale*: it is smaller, with its own scale if it has one."""
    if skipped and _word(words, at - 1) != skipped:
        return None
    found = _group(words, at)
    if found is None:
        return None
    size = found[0] * SCALES.get(_word(words, found[1]), 1)
    return found if 0 < size < scale else None


def _group(words: Sequence[str], at: int) -> tuple[Fraction, int] | None:
    """Read what stands before a scale: digits, or words below a thousand (`nineteen hundred`, too)."""
    word = _word(words, at)
    if word in {"a", "an"} and (_word(words, at + 1) == "hundred" or _word(words, at + 1) in SCALES):
        value, at = Fraction(1), at + 1
    elif word == "hundred" or word in SCALES:
        value = Fraction(1)
    elif (found := _below_hundred(words, at)) is not None:
        value, at = found
    else:
        return None
    if _word(words, at) != "hundred":
        return value, at
    value, at = value * 100, at + 1
    more = _below_hundred(words, at + 1 if _word(words, at) == "and" else at)
    return (value + more[0], more[1]) if more and 0 < more[0] < 100 else (value, at)


def _below_hundred(words: Sequence[str], at: int) -> tuple[Fraction, int] | None:
    word = _word(words, at)
    if DIGITS.fullmatch(word):
        return Fraction(word), at + 1
    value = VALUES.get(word)
    if value is None:
        return None
    unit = VALUES.get(_word(words, at + 1), 0)
    return (Fraction(value + unit), at + 2) if value >= 20 and 0 < unit < 10 else (Fraction(value), at + 1)


def _decimals(value: Fraction, words: Sequence[str], at: int) -> tuple[Fraction, int] | None:
    """Read `point one four` after *value*; None if it does not stand there."""
    if _word(words, at) != "point":
        return None
    digits = ""
    at += 1
    while len(digits) < MOST_DECIMALS:
        word = "zero" if _word(words, at) == "oh" else _word(words, at)
        if word in SMALL[:10]:
            digits += str(VALUES[word])
        elif word.isascii() and word.isdigit():
            digits += word[:MOST_DECIMALS]
        else:
            break
        at += 1
    return (value + Fraction(int(digits), 10 ** len(digits)), at) if digits else None
