"""Latencies written as text."""

import random
import statistics
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from bus.latency import Latency, LatencyText


def draws(text: str, seed: int = 1, count: int = 2000) -> list[float]:
    rng = random.Random(seed)
    latency = Latency.parse(text)
    return [latency.draw(rng) for _ in range(count)]


@pytest.mark.parametrize(("text", "seconds"), [("0", 0.0), ("0.2", 0.2), (" 1e-3 ", 0.001), ("constant:2", 2.0)])
def test_a_constant_is_always_the_same(text: str, seconds: float) -> None:
    assert set(draws(text)) == {seconds}


def test_uniform_stays_between_its_ends() -> None:
    drawn = draws("uniform:0.1,0.3")
    assert min(drawn) >= 0.1
    assert max(drawn) <= 0.3
    assert statistics.mean(drawn) == pytest.approx(0.2, abs=0.01)


def test_lognormal_has_its_median_and_a_long_tail() -> None:
    drawn = draws("lognormal:0.2,0.5")
    assert statistics.median(drawn) == pytest.approx(0.2, rel=0.05)
    assert statistics.mean(drawn) > 0.21
    assert min(drawn) > 0.0


@pytest.mark.parametrize("text", ["0.2", "uniform:0.1,0.3", "lognormal:0.2,0.5"])
def test_the_seed_decides_the_draws(text: str) -> None:
    assert draws(text, seed=7) == draws(text, seed=7)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "write SECONDS"),
        ("soon", "write SECONDS"),
        ("200ms", "write SECONDS"),
        ("gamma:1,2", "write SECONDS"),
        ("uniform:0.1", "wrong number"),
        ("0.1,0.2", "wrong number"),
        ("lognormal:0.1,0.2,0.3", "wrong number"),
        ("uniform:0.3,0.1", "below the lowest"),
        ("lognormal:0.2,9", "sigma"),
        ("-1", "between 0 and 3600"),
        ("nan", "between 0 and 3600"),
        ("inf", "between 0 and 3600"),
        ("uniform:0,nan", "at most 3600"),
    ],
)
def test_what_is_no_latency_is_told_why(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Latency.parse(text)


@given(st.text())
def test_any_text_parses_or_raises_value_error(text: str) -> None:
    try:
        seconds = Latency.parse(text).draw(random.Random(1))
    except ValueError:
        return
    assert seconds >= 0.0


def test_a_settings_field_says_what_is_wrong() -> None:
    class Settings(BaseModel):
        latency: LatencyText = "0"

    assert Settings(latency="uniform:0.1,0.3").latency == "uniform:0.1,0.3"
    with pytest.raises(ValidationError, match="write SECONDS"):
        Settings(latency="slow")


def test_a_file_gives_what_was_measured(tmp_path: Path) -> None:
    file = tmp_path / "measured.txt"
    file.write_text("# seconds\n0.1\n\n0.3 # slow\n")
    assert set(draws(f"file:{file}")) == {0.1, 0.3}


@pytest.mark.parametrize(
    ("content", "told"),
    [("", "no numbers"), ("soon", "one number of seconds a line"), ("-1", "between 0"), ("nan", "between 0")],
)
def test_a_file_that_holds_no_latencies_is_refused(tmp_path: Path, content: str, told: str) -> None:
    file = tmp_path / "measured.txt"
    file.write_text(content)
    with pytest.raises(ValueError, match=told):
        Latency.parse(f"file:{file}")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No such file"):
        Latency.parse(f"file:{tmp_path}/none.txt")
