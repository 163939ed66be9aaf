"""Cuts a text that is still being written into clauses to speak.

Rules:
- The clauses joined are the text, character for character.
- The cuts depend on the text alone, never on how it was split into deltas: every decision is taken character by
  character, from what came before.
- The first clause ends as early as can be: at a sentence end; at a comma, colon, semicolon or dash after two words or
  `FIRST_CHARACTERS`; at a space once there are `FIRST_AT_MOST` characters without any mark. Later ones end with their
  sentence or line, and have at most `AT_MOST` characters.
- A western mark ends something only where white space follows (3.14, 1,000, 10:30, URLs and e-mail addresses have
  none), so the last mark of the text is only sure after `flush`. Marks of scripts without spaces need none.
- An abbreviation that could also end a sentence (U.S., Inc.) is taken not to: a clause too long sounds better than one
  cut in two.
"""
# ruff: noqa: RUF001 - marks of many scripts look alike

import re
from enum import Enum
from typing import Final

# A comma before this many characters is not worth a clause of its own, unless two words stand before it.
FIRST_CHARACTERS: Final = 12
FIRST_WORDS: Final = 2
# Eight words or so. Half a second of a language model's writing, two and a half of speech.
FIRST_AT_MOST: Final = 48
# Some twelve seconds of speech: the longest an engine works between two looks at what matters more.
AT_MOST: Final = 200

SENTENCE_MARKS: Final = ".!?…‼⁇⁈⁉؟۔।॥。！？｡"
CLAUSE_MARKS: Final = ",;:—–-،؛、，；：､"
CLOSERS: Final = "\"')]}»›”’」』）】》〉*_`~"
# These end something also without white space after them.
_WIDE: Final = frozenset("。！？｡、，；：､—")
_WIDE_COMMAS: Final = "、，；：､"
_CLOSERS: Final = frozenset(CLOSERS)
_TAIL: Final = re.compile(rf"([{re.escape(SENTENCE_MARKS + CLAUSE_MARKS)}]+)([{re.escape(CLOSERS)}]*)$")
# How far back a mark with its closers, and the word before it, are looked for.
_LOOK_BACK: Final = 40

_ABBREVIATIONS: Final = frozenset(
    re.findall(
        r"\S+",
        """
        mr mrs ms mx dr prof rev hon gov sen rep gen col lt sgt capt cmdr st mt ft jr sr messrs mme mlle
        vs cf al approx fig figs vol ed eds pp ca dept univ inc ltd co corp bros assn ave blvd rd
        jan feb apr aug sept oct nov dec nr bzw usw sog ggf
        """,
    )
)
_LETTERS_WITH_DOTS: Final = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]")  # e.g, U.S, J
_ITEM_NUMBER: Final = re.compile(r"(?:^|\n)[ \t]*\d{1,3}\.$")


class Boundary(Enum):
    """What may end at a place in the text."""

    CLAUSE = "clause"
    SENTENCE = "sentence"
    SENTENCE_UNLESS_DIGIT = "sentence unless a digit follows"  # No. 5
    SENTENCE_IF_CAPITAL = "sentence if a capital letter follows"  # at 5 p.m. The
    NOTHING = "nothing"


class ClauseCutter:
    """Takes one answer's text in pieces, gives its clauses."""

    def __init__(self) -> None:
        self._text = ""  # not given out yet
        self._first = True
        self._best = 0  # where _text can best be cut if it gets too long
        self._undecided: tuple[int, Boundary] | None = None  # a place whose next word tells

    def feed(self, text: str) -> list[str]:
        """Take more text; return the clauses that are complete now."""
        clauses: list[str] = []
        for character in text:
            self._take(character, clauses)
        return clauses

    def flush(self) -> list[str]:
        """Return what is left: the text is over. The next text begins anew."""
        rest = [self._text] if self._text else []
        self._text, self._first, self._best, self._undecided = "", True, 0, None
        return rest

    def _take(self, character: str, clauses: list[str]) -> None:
        if self._undecided is not None and not character.isspace():
            self._decide(character, clauses)
        boundary = boundary_between(self._text, character)
        place = len(self._text) + character.isspace()
        self._text += character
        match boundary:
            case Boundary.SENTENCE if self._is_worth(boundary, place):
                self._cut(place, clauses)
            case Boundary.CLAUSE | Boundary.SENTENCE:
                if self._first and self._is_worth(boundary, place):
                    self._cut(place, clauses)
                else:
                    self._best = place
            case Boundary.SENTENCE_UNLESS_DIGIT | Boundary.SENTENCE_IF_CAPITAL:
                self._undecided = place, boundary
            case Boundary.NOTHING:
                pass
        self._limit(clauses)

    def _decide(self, character: str, clauses: list[str]) -> None:
        assert self._undecided is not None  # noqa: S101 - the caller has looked
        place, boundary = self._undecided
        self._undecided = None
        ends = character.isupper() if boundary is Boundary.SENTENCE_IF_CAPITAL else not character.isdigit()
        if ends and self._is_worth(Boundary.SENTENCE, place):
            self._cut(place, clauses)

    def _is_worth(self, boundary: Boundary, place: int) -> bool:
        clause = self._text[:place].strip()
        letters = sum(map(str.isalnum, clause))
        if not self._first:
            return letters > 0
        if boundary is Boundary.SENTENCE:
            return letters > 1
        long_enough = len(clause) >= FIRST_CHARACTERS or len(clause.split()) >= FIRST_WORDS
        return letters > 1 and (long_enough or clause[-1] in _WIDE_COMMAS)  # in those scripts a letter is a word

    def _limit(self, clauses: list[str]) -> None:
        if len(self._text) >= AT_MOST:
            in_good_place = self._best > AT_MOST // 3
            self._cut(
                self._best if in_good_place else self._space() or self._space(after_stop=True) or AT_MOST, clauses
            )
        elif self._first and len(self._text) >= FIRST_AT_MOST and (place := self._space()):
            self._cut(place, clauses)

    def _space(self, *, after_stop: bool = False) -> int:
        # The place after the last white space that has words before it; 0 if there is none. A stop before it is that
        # of an abbreviation or initial (a sentence's would have cut), where only need makes a cut.
        for place in range(len(self._text), 1, -1):
            if self._text[place - 1].isspace() and (after_stop or self._text[place - 2] != "."):
                return place if any(map(str.isalnum, self._text[:place])) else 0
        return 0

    def _cut(self, place: int, clauses: list[str]) -> None:
        clause, rest = self._text[:place], self._text[place:]
        clauses.append(clause)
        self._first = self._first and not any(map(str.isalnum, clause))
        self._text, self._best, self._undecided = "", 0, None
        for character in rest:
            self._take(character, clauses)


def boundary_between(text: str, character: str) -> Boundary:
    """Tell what ends between *text* and the *character* that follows it."""
    if not text:
        return Boundary.NOTHING
    if character == "\n":
        return Boundary.SENTENCE
    if character.isspace():
        if text[-1].isspace():
            return Boundary.NOTHING
    elif text[-1] not in _WIDE and text[-1] not in _CLOSERS:
        return Boundary.NOTHING
    tail = text[-_LOOK_BACK:]
    found = _TAIL.search(tail)
    if found is None:
        return Boundary.NOTHING
    return _kind_of(found[1], tail[: found.start()], character)


def _kind_of(marks: str, before: str, after: str) -> Boundary:
    last = marks[-1]
    if (
        not after.isspace()
        and (
            last not in _WIDE
            or after in CLOSERS + SENTENCE_MARKS + CLAUSE_MARKS  # the end is further on
            or (before[-1:].isdigit() and after.isdigit())  # a thousands mark
        )
    ):
        return Boundary.NOTHING
    if last in "-–":  # a dash only between spaces, and no minus: "5 - 3" is one thing
        dash = before.endswith((" ", "\t")) and before.rstrip()[-1:].isalpha()
        return Boundary.CLAUSE if dash else Boundary.NOTHING
    if last in CLAUSE_MARKS or marks.endswith(("..", "…")):
        return Boundary.CLAUSE
    if last == ".":
        return _kind_of_stop(before + marks)
    return Boundary.SENTENCE


def _kind_of_stop(text: str) -> Boundary:
    words = text[:-1].split()
    if not words or text[-2].isspace() or _ITEM_NUMBER.search(text):
        return Boundary.NOTHING
    word = words[-1].lstrip("\"'([{«“‘*_")  # the quotes that open
    if word in {"No", "Nos"}:
        return Boundary.SENTENCE_UNLESS_DIGIT
    if word.lower() in {"a.m", "p.m", "etc", "am", "pm"}:
        return Boundary.SENTENCE_IF_CAPITAL
    if word.lower() in _ABBREVIATIONS or _LETTERS_WITH_DOTS.fullmatch(word):
        return Boundary.NOTHING
    return Boundary.SENTENCE


def ending_of(clause: str) -> Boundary:
    """Tell what *clause* ends with; where it was cut for its length, nothing."""
    stripped = clause.rstrip()
    if "\n" in clause[len(stripped) :]:
        return Boundary.SENTENCE
    last = stripped.rstrip(CLOSERS)[-1:]
    if last and last in SENTENCE_MARKS:
        return Boundary.SENTENCE
    return Boundary.CLAUSE if last and last in CLAUSE_MARKS else Boundary.NOTHING
