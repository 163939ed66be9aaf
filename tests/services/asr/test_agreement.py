"""The stable prefix of a growing recognition."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.asr.agreement import Agreement, Partial


@pytest.mark.parametrize(
    ("hypotheses", "shown"),
    [
        ([""], Partial()),
        (["how"], Partial("", "how")),
        (["how", "how old"], Partial("how", "old")),
        (["how", "who old", "who old is"], Partial("who old", "is")),
        (["how old", "how old is", "how cold is it"], Partial("how old", "is it")),
        (["how old", "how old is", ""], Partial("how old", "")),
        (["how old", "how old is", "", "how old is the"], Partial("how old", "is the")),
    ],
)
def test_words_become_stable_when_two_hypotheses_agree(hypotheses: list[str], shown: Partial) -> None:
    agreement = Agreement()
    assert [agreement.hear(hypothesis) for hypothesis in hypotheses][-1] == shown


@given(st.lists(st.lists(st.sampled_from("abc"), max_size=6)))
def test_the_stable_part_only_grows(hypotheses: list[list[str]]) -> None:
    agreement = Agreement()
    before: list[str] = []
    for words in hypotheses:
        stable = agreement.hear(" ".join(words)).stable.split()
        assert stable[: len(before)] == before
        before = stable
