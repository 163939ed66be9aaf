"""Time and date in words that a synthesiser cannot misread."""

# ruff: noqa: PLR2004, SIM905 - the hours of a clock need no names, and a list of words is read as one

import re
from datetime import datetime, timedelta
from typing import Final

from services.llm.responder import numbers

# By name, not by strftime: the answer is English whatever the locale of the host.
DAYS: Final = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS: Final = "January February March April May June July August September October November December".split()
PLACE: Final = re.compile(r"\b(?:time|it)(?: now| is it| right now)* in (?!the (?:morning|afternoon|evening)\b)\w+")
# word: days from today
SHIFTS: Final = (("day after tomorrow", 2), ("day before yesterday", -2), ("tomorrow", 1), ("yesterday", -1))


def time_of_day(now: datetime) -> str:
    """Return the time as it is said: `three oh five in the afternoon`, `twelve o'clock at noon`."""
    hour = numbers.in_words(now.hour % 12 or 12)
    if now.minute == 0:
        minutes = "o'clock"
    elif now.minute < 10:
        minutes = f"oh {numbers.in_words(now.minute)}"
    else:
        minutes = numbers.in_words(now.minute)
    return f"{hour} {minutes} {_part_of_day(now.hour)}"


def date_of(day: datetime) -> str:
    """Return the date as it is said: `Sunday, November twenty-third, twenty twenty-five`."""
    return f"{DAYS[day.weekday()]}, {MONTHS[day.month - 1]} {numbers.ordinal(day.day)}, {numbers.year(day.year)}"


def day_asked_for(plain: str, now: datetime) -> str:
    """Answer a question for the year, the month, the day of the week or the date; also tomorrow's and yesterday's."""
    name, shift = next(((word, days) for word, days in SHIFTS if re.search(rf"\b{word}\b", plain)), ("today", 0))
    day = now + timedelta(days=shift)
    verb = "was" if shift < 0 else "is"
    asked = re.search(r"\b(year|month|weekday|day of the week|what day|which day|day is)\b", plain)
    match asked.group() if asked else "date":
        case "year":
            return f"It is {numbers.year(now.year)}."
        case "month":
            return f"It is {MONTHS[now.month - 1]}."
        case "weekday" | "day of the week" | "what day" | "which day" | "day is":
            prefix = "The " + name if name.startswith("day") else name.capitalize()
            return f"{prefix} {verb} {DAYS[day.weekday()]}, {MONTHS[day.month - 1]} {numbers.ordinal(day.day)}."
        case _:
            prefix = "The " + name if name.startswith("day") else name.capitalize()
            return f"{prefix} {verb} {date_of(day)}."


def _part_of_day(hour: int) -> str:
    if hour < 12:
        return "in the morning"
    if hour < 18:
        return "in the afternoon"
    return "in the evening" if hour < 22 else "at night"
