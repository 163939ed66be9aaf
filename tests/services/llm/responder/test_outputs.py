"""The outputs of tools as speech."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.llm.responder.outputs import say


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ('{"temperature": 21.5, "condition": "sunny"}', "The temperature is 21.5 and the condition is sunny."),
        ('{"windSpeed": 3, "is_raining": false}', "The wind speed is 3 and the is raining is no."),
        ('{"result": "It is sunny in Paris."}', "It is sunny in Paris."),
        ('{"error": "no such city"}', "That did not work: no such city."),
        (
            '{"weather": {"sky": "clear", "clouds": null}}',
            "The weather sky is clear and the weather clouds is nothing.",
        ),
        ('["a", "b", "c"]', "A, b and c."),
        ("[]", "There is nothing."),
        ('[{"name": "Rex", "age": 3}, {"name": "Bo", "age": 5}]', "Rex 3 and Bo 5."),
        ("42", "42."),
        ("3.0", "3."),
        ("true", "Done."),
        ("false", "That did not work."),
        ("null", "Done."),
        ("{}", "Done."),
        ("", "Done."),
        ("the door is open", "The door is open."),
        ("{not json", "{not json."),
        ("[" * 5000, None),
        ("9" * 10_000, None),
    ],
)
def test_outputs_become_sentences(output: str, said: str | None) -> None:
    if said is None:
        assert len(say(output)) < 600
    else:
        assert say(output) == said


def test_of_many_facts_the_first_are_said_and_the_others_counted() -> None:
    said = say(json.dumps({f"fact {n}": n for n in range(20)}))
    assert "fact 5" in said
    assert said.endswith("and there are 14 more.")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
)


@settings(deadline=None)
@given(JSON)
def test_every_output_can_be_said(value: object) -> None:
    assert say(json.dumps(value))
