"""The client's audio, and its clock."""

import random
from itertools import pairwise

import pytest

from gateway.core.realtime.tape import REMEMBERED, SMALL_BYTES, ClientClock, Tape


def tape(most_ms: float = 1000.0) -> Tape:
    """Return a tape of 16 bits at 8 kHz."""
    return Tape(16, 2, most_ms)


def test_audio_is_found_by_its_place() -> None:
    held = tape()
    held.append(b"\1\0" * 80)
    held.append(b"\2\0" * 80)
    assert held.read(5, 15) == b"\1\0" * 40 + b"\2\0" * 40
    assert held.read(15, 99) == b"\2\0" * 40
    assert held.end_ms == 20


def test_the_oldest_is_forgotten() -> None:
    held = tape(10)
    held.append(b"\1\0" * 80 + b"\2\0" * 80)
    assert (held.start_ms, held.end_ms) == (10, 20)
    held.forget_before(15)
    assert held.read(0, 20) == b"\2\0" * 40


def test_samples_are_never_cut() -> None:
    held = tape()
    held.append(b"\1\2" * 80)
    held.forget_before(3.03)
    assert held.read(3.03, 5.07)[:2] == b"\1\2"
    assert len(held.read(3.03, 5.07)) % 2 == 0


def test_another_format_begins_where_the_last_one_ended() -> None:
    held = tape()
    held.append(b"\1\0" * 80)
    held.use_format(8, 1)
    held.append(b"\3" * 80)
    assert held.end_ms == 20
    assert held.read(0, 20) == b"\3" * 80


def test_audio_in_tiny_pieces_is_held_in_few() -> None:
    held = tape()
    for number in range(8000):
        held.append(number.to_bytes(2, "little"))
    assert held.end_ms == 1000
    assert len(held._held) <= 16_000 / SMALL_BYTES + 1
    assert held.read(250, 251) == b"".join(number.to_bytes(2, "little") for number in range(2000, 2008))


def test_audio_that_comes_as_usual_is_not_copied() -> None:
    held = tape()
    append = b"\1\0" * 320
    held.append(b"\2\0")
    held.append(append)
    assert held._held[-1] is append
    assert held.read(0.125, 40.125) == append


def test_pieces_of_any_size_make_the_same_audio() -> None:
    audio = random.Random(7).randbytes(60_000)
    sizes = random.Random(8)
    held, place = tape(2000), 0
    while place < len(audio):
        size = sizes.choice((0, 2, 2, 100, SMALL_BYTES - 2, SMALL_BYTES, 3000))
        held.append(audio[place : place + size])
        place += size
        begin = sizes.uniform(held.start_ms, held.end_ms)
        held.forget_before(begin - 500)
        assert held.read(begin, held.end_ms) == audio[round(begin * 8) * 2 : place]
        sizes_held = [len(piece) for piece in held._held]
        assert all(max(pair) >= SMALL_BYTES for pair in pairwise(sizes_held))


@pytest.mark.parametrize(
    ("place_ms", "told_ms"), [(50, 50), (100, 100), (150, 100), (200, 100), (300, 200), (700, 500)]
)
def test_silence_that_the_client_did_not_send_is_not_counted(place_ms: float, told_ms: int) -> None:
    clock = ClientClock()
    clock.skip(100, 100)
    clock.skip(400, 100)
    assert clock.told(place_ms) == told_ms


def test_silences_of_long_ago_are_counted_together() -> None:
    clock = ClientClock()
    for number in range(2 * REMEMBERED):
        clock.skip(number * 10, 5)
    assert clock.told(20 * REMEMBERED) == 10 * REMEMBERED
