"""Which words of an answer lie where in its audio."""

from dataclasses import dataclass


@dataclass(slots=True)
class Clause:
    """A piece of the answer's text and where its audio lies."""

    text: str
    start_ms: float
    end_ms: float


class Spoken:
    """The clauses of one answer, in order."""

    def __init__(self) -> None:
        self._clauses: list[Clause] = []

    def begin(self, text: str, at_ms: float) -> None:
        """Note that the audio of *text*, if it is any, begins at *at_ms*."""
        if text:
            self._clauses.append(Clause(text, at_ms, at_ms))

    def reach(self, end_ms: float) -> None:
        """Note that the audio, and the clause that began last, goes on to *end_ms*."""
        if self._clauses:
            self._clauses[-1].end_ms = end_ms

    def until(self, heard_ms: float) -> str:
        """Return the text of the audio before *heard_ms*; of a clause in the middle, the words that fit the time."""
        heard: list[str] = []
        for clause in self._clauses:
            if clause.start_ms >= heard_ms:
                break
            if clause.end_ms <= heard_ms:
                heard.append(clause.text)
            else:
                share = (heard_ms - clause.start_ms) / (clause.end_ms - clause.start_ms)
                heard.append(whole_words(clause.text, share))
        return "".join(heard).rstrip()


def whole_words(text: str, share: float) -> str:
    """Return the words of *text* that have been spoken to the end after *share* of its time."""
    cut = int(len(text) * share)
    if cut >= len(text) or text[cut].isspace():
        return text[:cut]
    while cut and not text[cut].isspace():
        cut -= 1
    return text[:cut]
