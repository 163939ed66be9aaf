import math

import pytest

from launcher.bench.slope import FEWEST, LEAST_MB, MB, Slope


def held(at_mb: list[float]) -> list[tuple[float, float]]:
    """Return samples a second apart."""
    return [(100.0 + second, mb * MB) for second, mb in enumerate(at_mb)]


def through(at_mb: list[float]) -> Slope:
    slope = Slope.through(held(at_mb))
    assert slope is not None
    return slope


def test_memory_that_stays_is_noise() -> None:
    slope = through([60.0] * 120)
    assert (slope.mean_mb, slope.allowed_mb) == (60.0, LEAST_MB)
    assert slope.mb_per_minute == pytest.approx(0.0, abs=1e-9)
    assert slope.is_noise


def test_what_a_process_takes_to_begin_with_is_no_leak() -> None:
    assert through([30.0 + second for second in range(30)] + [60.0] * 90).is_noise


def test_memory_that_rises_all_the_time_is_a_leak() -> None:
    slope = through([60.0 + second / 20 for second in range(120)])
    assert slope.mb_per_minute == pytest.approx(3.0)
    assert slope.grown_mb == pytest.approx(slope.mb_per_minute * slope.seconds / 60)
    assert not slope.is_noise


def test_memory_that_comes_and_goes_is_noise_though_its_line_rises_a_little() -> None:
    slope = through([60.0 + 5 * math.sin(second) + second / 40 for second in range(120)])
    assert slope.grown_mb > LEAST_MB / 2
    assert slope.is_noise


@pytest.mark.parametrize("samples", [0, 1, 2, FEWEST])
def test_too_few_samples_make_no_line(samples: int) -> None:
    assert Slope.through(held([60.0] * samples)) is None
