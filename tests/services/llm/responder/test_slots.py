"""Arguments from utterances."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.llm.responder import slots


def schema(required: list[str] | None = None, /, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required or []}


STRING = {"type": "string"}
WHOLE = {"type": "integer"}
FILLED = [
    ("what is the weather in paris", schema(city=STRING), {"city": "Paris"}),
    ("what is the weather like in new york today please", schema(location=STRING), {"location": "New York"}),
    ("weather tomorrow", schema(city=STRING), {}),
    ("weather in rome tomorrow", schema(city=STRING, day=STRING), {"city": "Rome", "day": "tomorrow"}),
    ("fly from oslo to rome", schema(origin=STRING, destination=STRING), {"origin": "Oslo", "destination": "Rome"}),
    ("call anna", schema(contact=STRING), {"contact": "Anna"}),
    ("send a message saying i am late", schema(message=STRING), {"message": "i am late"}),
    ("search for red shoes under fifty euros", schema(query=STRING), {"query": "red shoes under fifty euros"}),
    ("set the color to red", schema(color=STRING), {"color": "red"}),
    ("set a timer for ten minutes", schema(minutes=WHOLE), {"minutes": 10}),
    ("two and a half cups", schema(cups={"type": "number"}), {"cups": 2.5}),
    ("two and a half cups", schema(cups=WHOLE), {}),
    ("a table for two at eight", schema(people=WHOLE, hour=WHOLE), {"people": 2, "hour": 8}),
    ("ten seconds and five minutes", schema(minutes=WHOLE, seconds=WHOLE), {"minutes": 5, "seconds": 10}),
    ("volume one hundred fifty", schema(volume={"type": "integer", "maximum": 100}), {}),
    ("in celsius please", schema(unit={"enum": ["celsius", "fahrenheit"]}), {"unit": "celsius"}),
    ("paris in celsius", schema(city=STRING, unit={"enum": ["celsius"]}), {"unit": "celsius"}),
    ("in paris in celsius", schema(city=STRING, unit={"enum": ["celsius"]}), {"city": "Paris", "unit": "celsius"}),
    ("living room lights", schema(place={"enum": ["room", "living_room"]}), {"place": "living_room"}),
    ("turn on the light", schema(on={"type": "boolean"}), {"on": True}),
    ("turn the light off", schema(state={"type": "boolean"}), {"state": False}),
    ("weather in paris", schema(cities={"type": "array", "items": STRING}, city=STRING), {"city": "Paris"}),
    ("in berlin", schema(location={"anyOf": [{"type": "null"}, STRING]}), {"location": "Berlin"}),
    ("in berlin", schema(location={"type": ["string", "null"]}), {"location": "Berlin"}),
    ("in berlin", schema(["unit"], unit={"enum": ["c", "f"], "default": "c"}), {"unit": "c"}),
    ("in berlin", schema(place={"$ref": "#/$defs/Place"}), {}),
    ("in Århus", schema(city=STRING), {"city": "Århus"}),
]  # fmt: skip


@pytest.mark.parametrize(("said", "declared", "filled"), FILLED)
def test_arguments_are_filled_from_what_was_said(said: str, declared: dict[str, Any], filled: dict[str, Any]) -> None:
    assert slots.fill(declared, said) == filled


@pytest.mark.parametrize(
    ("declared", "question"),
    [
        (STRING, "Which city name do you mean?"),
        ({"type": "integer"}, "What number should I use for the city name?"),
        ({"type": "boolean"}, "Should the city name be on or off?"),
        ({"enum": ["a", "b"]}, "Which city name do you mean: a or b?"),
    ],
)
def test_what_is_missing_is_asked_for(declared: dict[str, Any], question: str) -> None:
    needed = schema(["cityName"], cityName=declared)
    assert slots.missing(needed, {}) == "cityName"
    assert slots.question(needed, "cityName") == question


def test_a_forced_call_has_every_required_argument() -> None:
    needed = schema(
        ["a", "b", "c", "d", "e"],
        a=STRING, b={"type": "number"}, c={"enum": ["x", "y"]}, d={"type": "boolean"}, e={"type": "array"},
    )  # fmt: skip
    assert slots.forced(needed, "hello") == {"a": "hello", "b": 0, "c": "x", "d": False, "e": []}


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6) | st.just("string") | st.just("integer"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "properties", "required", "enum", "items", "anyOf", "const", "minimum", "city"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["type", "properties", "required"]), ANYTHING), ANYTHING)
def test_no_schema_stops_it(odd: dict[str, Any], property_schema: object) -> None:
    for declared in (odd, schema(["city"], city=property_schema)):
        filled = slots.fill(declared, "in paris for two people")
        name = slots.missing(declared, filled)
        if name is not None:
            assert slots.question(declared, name)
            slots.bare(declared, name, "paris")
        slots.forced(declared, "in paris for two people")
