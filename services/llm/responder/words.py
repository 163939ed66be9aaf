"""Words as they are matched and said: recognisers give them bare and in lower case, keyboards do not."""

import re
from typing import Final

# Nobody says more than this to a set of rules; what is longer is matched by its beginning.
LONGEST_CHARS: Final = 4000
# An echo longer than this is no answer to listen to.
ECHO_WORDS: Final = 12
ECHO_CHARS: Final = 100

CONTRACTIONS: Final = {
    "what's": "what is",
    "whats": "what is",
    "who's": "who is",
    "how's": "how is",
    "where's": "where is",
    "that's": "that is",
    "it's": "it is",
    "i'm": "i am",
    "you're": "you are",
    "i've": "i have",
    "name's": "name is",
    "let's": "let us",
}
HESITATIONS: Final = frozenset({"uh", "uhm", "um", "umm", "er", "erm", "hm", "hmm", "mm", "ah", "oh"})
# Recognisers mark what is no word: [NOISE], <sil>, ++breath++.
_MARKED: Final = re.compile(r"\[[^\]\[]{0,20}\]|<[^<>]{0,20}>|\+\+\w{0,20}\+\+")
_WORD: Final = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
QUESTION: Final = re.compile(
    r"(?:and |so |but |ok |okay |please )?(?:(?:who|whose|what|when|where|why|which|how)\b"
    r"|(?:is|are|was|were|do|does|did|can|could|will|would|should|have|has) (?:i|you|he|she|it|we|they|the|this|that"
    r"|there|a|an|my|your|any|anyone|anybody)\b)"
)


def spoken(text: str) -> str:
    """Return *text* on one line, without marks of noise, cut to `LONGEST_CHARS`."""
    text = _MARKED.sub(" ", text[:LONGEST_CHARS]).replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def plain(text: str) -> str:
    """Return the words of *text* for matching: lower case, one space between, contractions written out."""
    words = (CONTRACTIONS.get(word, word) for word in _WORD.findall(spoken(text).lower()))
    return " ".join(word for word in words if word not in HESITATIONS)


def sentence(text: str) -> str:
    """Return *text* with a capital at its beginning and a mark at its end."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?", "…")) else ".") if text else ""


def shortened(text: str) -> str:
    """Return the beginning of *text* as a phrase to be quoted, without its end mark."""
    return clipped(spoken(text).rstrip(" .!?…"), ECHO_WORDS, ECHO_CHARS)


def clipped(text: str, words: int, chars: int) -> str:
    """Return as much of *text* as *words* and *chars* allow, saying so when something was left out."""
    every = spoken(text).split()
    short = " ".join(every[:words])[:chars]
    return short if short == " ".join(every) else f"{short.rstrip(' ,;:')}, and so on"


def is_question(text: str) -> bool:
    """Tell whether *text* asks something."""
    return spoken(text).endswith("?") or QUESTION.match(plain(text)) is not None


def listed(items: list[str]) -> str:
    """Return *items* as a person lists them: a, b and c."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else ""
