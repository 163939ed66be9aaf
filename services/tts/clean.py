"""Turns a clause as it was written into one that can be spoken.

Markdown, HTML, emoji, addresses and symbols become words or nothing; numbers are left to the engine. A clause is
cleaned alone: marks whose other half stands in another clause are dropped, and code in a fence is read like text.
"""

import html
import re
import unicodedata
from collections.abc import Callable
from typing import Final

Rule = tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]

_HOST: Final = r"(?:[a-z0-9-]+\.)+[a-z]{2,}"
_TAGS: Final = (
    "a|abbr|article|b|blockquote|body|br|code|del|div|em|emphasis|figure|font|footer|h[1-6]|head|header|hr|html|i|img"
    "|ins|kbd|li|mark|ol|p|phoneme|pre|prosody|q|s|say-as|section|small|span|speak|strong|sub|summary|sup|table|tbody|td"
    "|tfoot|th|thead|tr|u|ul|var|voice"
)


def _rules(*rules: tuple[str, str | Callable[[re.Match[str]], str]]) -> list[Rule]:
    return [(re.compile(pattern, re.IGNORECASE | re.MULTILINE), replacement) for pattern, replacement in rules]


def _host_words(found: re.Match[str]) -> str:
    host = found["host"].lower().removeprefix("www.")
    # A number (IP) or a name without dots tells a listener nothing.
    words = host.replace(".", " dot ") if re.search(r"\.[a-z]{2,}$", host) else "link"
    return f" {words}{found['rest'] or ''} "


def _mail_words(found: re.Match[str]) -> str:
    return f" {found['user'].replace('.', ' dot ')} at {found['domain'].replace('.', ' dot ')} "


def _row_words(found: re.Match[str]) -> str:
    return ", ".join(cell.strip() for cell in found["cells"].split("|") if cell.strip())


_MARKUP: Final = _rules(
    (r"[^\S\n]+", " "),  # first: what follows takes quadratic time in runs of spaces
    (r"\n\s*", "\n"),
    (rf"</?(?:{_TAGS})(?:\s[^<>]*)?/?>|<!--.*?-->", " "),
    (r"^[ \t]*(?:```|~~~)[^\n`]*$", " "),  # fences
    (r"^[ \t]*(?:[-*_=][ \t]*){3,}$", " "),  # rules and underlines
    (r"^[ \t]*\|?[ \t]*:?-{3,}:?[ \t]*(?:\|[ \t]*:?-*:?[ \t]*)*$", " "),  # the line below a table's head
    (r"^[ \t]*\|(?P<cells>.*)$", _row_words),
    (r"!?\[(?P<text>[^\[\]]*)\]\([^()\s]*(?:\([^()]*\)[^()\s]*)?(?:\s+\"[^\"]*\")?\)", r"\g<text>"),  # links, images
    (r"\[(?P<text>[^\[\]]+)\]\[[^\[\]]*\]", r"\g<text>"),  # links by reference
    (r"\]\([^()\s]*\)?", " "),  # the second half of a link that began in the clause before
    (r"^[ \t]*#{1,6}[ \t]+|[ \t]+#+[ \t]*$", ""),  # headings
    (r"^[ \t]*(?:>[ \t]?)+", ""),  # quotations
    (r"^[ \t]*[-*+•‣▪][ \t]+(?:\[[ x]\][ \t]+)?", ""),  # list items
)
_ADDRESSES: Final = _rules(
    (
        (
            r"<?\b(?:https?|ftp|wss?)://(?:[^\s/@]*@)?(?P<host>[^\s/:?#,;)>\]\"']+)(?::\d+)?"
            r"(?:[/?#][^\s<>\"]*?)?(?P<rest>[.,;:!?)\]]*)>?(?=\s|$|[<>\"])"
        ),
        _host_words,
    ),
    (rf"\b(?P<host>www\.{_HOST})(?:/[^\s<>\"]*?)?(?P<rest>[.,;:!?)\]]*)(?=\s|$|[<>\"])", _host_words),
    (rf"(?:\bmailto:)?\b(?P<user>[a-z0-9._%+-]+)@(?P<domain>{_HOST})", _mail_words),
)
_EMPHASIS: Final = _rules(
    (r"(?<=\d)[ \t]*\*[ \t]*(?=\d)", " × "),  # noqa: RUF001 - a product, no emphasis
    (r"~~|[*`]+", ""),
    (r"(?<!\w)_+|_+(?!\w)", ""),
    (r"_", " "),  # snake_case
)
_AMOUNT: Final = r"[ \t]?(?P<amount>\d[\d,]*(?:\.\d+)?(?:[ \t]?(?:thousand|million|billion|trillion|[kmb]\b))?)"
# Written for English voices; those of other languages know their own words for these.
_ENGLISH: Final = _rules(
    (rf"(?:US)?\${_AMOUNT}", r"\g<amount> dollars"),
    (rf"€{_AMOUNT}", r"\g<amount> euros"),
    (rf"£{_AMOUNT}", r"\g<amount> pounds"),
    (rf"[¥¥]{_AMOUNT}", r"\g<amount> yen"),  # the wide one, too
    (r"[ \t]*°[ \t]?C\b", " degrees Celsius"),
    (r"[ \t]*°[ \t]?F\b", " degrees Fahrenheit"),
    (r"[ \t]*°", " degrees "),
    (r"[ \t]*%+", " percent"),
    (r"[ \t]*‰", " per mille"),
    (r"&+", " and "),
    (r"@+", " at "),
    (r"#(?=\d)", "number "),
    (r"(?<![\w)])~(?=\d)|≈", " about "),
    (r"±", " plus or minus "),
    (r"(?<=\w)\+\+", " plus plus "),  # C++
    (r"\++", " plus "),
    (r"(?<=\d)[ \t]?[–−][ \t]?(?=\d)", " to "),  # noqa: RUF001 - a range
    (r"(?<=\d)[ \t]-[ \t](?=\d)", " minus "),
    (r"(?<![\w.])[-−](?=\d)", "minus "),  # noqa: RUF001 - the real minus
    (r"×", " times "),  # noqa: RUF001 - not the letter
    (r"÷", " divided by "),
    (r"≤|<=", " less than or equal to "),
    (r"≥|>=", " greater than or equal to "),
    (r"≠|!=", " is not equal to "),
    (r"(?<=\w)\s*(?:=>|->|→|⇒)+\s*(?=\w)", " to "),
    (r"[=-]>|→|⇒", " "),
    (r"=+", " equals "),
    (r"[ \t]<[ \t]", " less than "),
    (r"[ \t]>[ \t]", " greater than "),
    (r"§", " section "),
    (r"™|®", " "),
    (r"©", " copyright "),
    (r"€", " euros "),
    (r"£", " pounds "),
    (r"\$", " dollars "),
)
_PROSE: Final = _rules(
    ("(?:^|(?<=\\s))[\u200c\u200d]+|[\u200c\u200d]+(?=\\s|$)", ""),  # joiners whose emoji are gone
    (r"\s*(?:—|--+|(?<=\s)[–-](?=\s))\s*", ", "),  # noqa: RUF001 - a dash is a pause
    (r"[<>{}\[\]\\|^#~]+", " "),
    (r"([!?,;:])\1+|(\.{4,})", lambda found: found[1] or "..."),
    (r"^[\s,;:]+", ""),
    (r"\s+([,;:.!?])", r"\1"),
    (r",(?:\s*,)+", ","),
    (r"\s+", " "),
)
# Symbols of other kinds (emoji, dingbats, arrows, box drawing), modifiers (skin tones), private and unassigned ones.
_UNSPOKEN: Final = frozenset({"So", "Sk", "Co", "Cn", "Cs"})
_SELECTORS: Final = re.compile("[\ufe00-\ufe0f\u20e3\U000e0100-\U000e01ef]")
_WRITTEN_AS: Final = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "„": '"', "\xa0": " "})  # noqa: RUF001


def speakable(text: str, *, english: bool = True) -> str:
    """Return what an engine shall say for *text*; empty if there is nothing to say.

    *english*: write symbols out in English words; otherwise they are left to the engine.
    """
    text = _apply(_MARKUP, text)
    text = html.unescape(text)
    text = _apply(_ADDRESSES, text.translate(_WRITTEN_AS))
    text = _apply(_EMPHASIS, text)
    if not any(map(str.isalnum, text)):
        return ""  # symbols alone are ornaments
    if english:
        text = _apply(_ENGLISH, text)
    text = "".join(map(_spoken_character, _SELECTORS.sub("", unicodedata.normalize("NFC", text))))
    text = _apply(_PROSE, text).strip()
    return text if any(map(str.isalnum, text)) else ""


def _apply(rules: list[Rule], text: str) -> str:
    for pattern, replacement in rules:
        text = pattern.sub(replacement, text)
    return text


def _spoken_character(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Cc":
        return character if character in "\n\t" else " "
    if category == "Cf":  # joiners belong to the word in Persian and the scripts of India; marks of direction do not
        return character if character in "\u200c\u200d" else ""
    return " " if category in _UNSPOKEN and character != "°" else character
