"""Time and date in words."""

from datetime import UTC, datetime

import pytest

from services.llm.responder import calendar


@pytest.mark.parametrize(
    ("hour", "minute", "said"),
    [
        (0, 0, "twelve o'clock in the morning"),
        (9, 0, "nine o'clock in the morning"),
        (15, 5, "three oh five in the afternoon"),
        (12, 30, "twelve thirty in the afternoon"),
        (18, 45, "six forty-five in the evening"),
        (23, 59, "eleven fifty-nine at night"),
    ],
)
def test_the_time_is_said_in_words(hour: int, minute: int, said: str) -> None:
    assert calendar.time_of_day(datetime(2025, 11, 23, hour, minute, tzinfo=UTC)) == said


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("what day is it", "Today is Wednesday, December thirty-first."),
        ("what is the date", "Today is Wednesday, December thirty-first, twenty twenty-five."),
        ("what day is tomorrow", "Tomorrow is Thursday, January first."),
        ("what was the date yesterday", "Yesterday was Tuesday, December thirtieth, twenty twenty-five."),
        (
            "what is the date the day after tomorrow",
            "The day after tomorrow is Friday, January second, twenty twenty-six.",
        ),
        ("what month is it", "It is December."),
        ("which year is it", "It is twenty twenty-five."),
    ],
)
def test_the_day_asked_for_is_named(asked: str, said: str) -> None:
    assert calendar.day_asked_for(asked, datetime(2025, 12, 31, 12, 0, tzinfo=UTC)) == said
