"""The audio clock: nothing lost, nothing twice, whatever the chunks."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.input import (
    BACK_MS,
    BLOCK_BYTES,
    BYTES_PER_MS,
    IN_FLIGHT_MS,
    KEPT_MS,
    UNTOLD_MS,
    WINDOW_BYTES,
    InputAudio,
    to_ms,
)


def audio(samples: int) -> bytes:
    """Return audio in which every sample tells its position."""
    return b"".join((position % 65536).to_bytes(2, "little") for position in range(samples))


def split(pcm: bytes, sizes: list[int]) -> list[bytes]:
    """Cut *pcm* into chunks of so many samples, the last taking the rest."""
    chunks = []
    for size in sizes:
        chunks.append(pcm[: size * 2])
        pcm = pcm[size * 2 :]
    return [*chunks, pcm]


TWO_SECONDS = audio(32_000)
SIX_SECONDS = audio(96_000)
BACK = BACK_MS * BYTES_PER_MS // 2
sizes = st.lists(st.integers(0, 9000), max_size=30)


def test_positions_are_milliseconds_of_16_khz() -> None:
    assert to_ms(16_000) == 1000


def test_whole_windows_go_out_and_the_rest_waits() -> None:
    audio_in = InputAudio()
    assert list(audio_in.push(TWO_SECONDS[: WINDOW_BYTES - 2])) == []
    assert list(audio_in.push(TWO_SECONDS[:4])) == [(0, TWO_SECONDS[: WINDOW_BYTES - 2] + TWO_SECONDS[:2])]
    assert audio_in.at_sample == WINDOW_BYTES // 2


@given(sizes)
def test_any_split_brings_the_same_audio_at_contiguous_positions(chunks: list[int]) -> None:
    audio_in = InputAudio()
    blocks = [block for chunk in split(TWO_SECONDS, chunks) for block in audio_in.push(chunk)]
    whole = len(TWO_SECONDS) // WINDOW_BYTES * WINDOW_BYTES
    assert b"".join(pcm for _, pcm in blocks) == TWO_SECONDS[:whole]
    assert blocks[0][0] == 0
    assert all(after == before + len(pcm) // 2 for (before, pcm), (after, _) in pairwise(blocks))
    assert all(0 < len(pcm) <= BLOCK_BYTES and len(pcm) % WINDOW_BYTES == 0 for _, pcm in blocks)
    assert audio_in.at_sample == whole // 2


positions = st.integers(0, 100_000)


def filled(chunks: list[int], used: list[int], keep_from: int | None = None) -> InputAudio:
    """Return six seconds of input that came in *chunks*, of which the vad has *used* something."""
    audio_in = InputAudio()
    audio_in.keep_from = keep_from
    for chunk in split(SIX_SECONDS, chunks):
        list(audio_in.push(chunk))
    for at_sample in used:
        audio_in.consumed(at_sample)
    return audio_in


@given(sizes, st.lists(positions, max_size=5), positions)
def test_what_is_sent_again_is_exactly_what_was_not_used_and_what_is_asked_for_before(
    chunks: list[int], used: list[int], back_to: int
) -> None:
    audio_in = filled(chunks, used)
    newest = min(max(used, default=0), audio_in.at_sample)
    assert audio_in.consumed_sample == newest
    again = audio_in.again(back_to)
    start = again[0][0] if again else audio_in.at_sample
    assert min(back_to, newest) <= start <= max(min(back_to, newest), newest - BACK)
    assert b"".join(pcm for _, pcm in again) == SIX_SECONDS[start * 2 : audio_in.at_sample * 2]
    assert all(after == before + len(pcm) // 2 for (before, pcm), (after, _) in pairwise(again))
    assert audio_in.consumed_sample == start  # the next vad has to acknowledge all of it


def test_the_next_vad_may_be_lost_too() -> None:
    audio_in = filled([], [64_000])
    first = audio_in.again(60_000)
    audio_in.consumed(60_100)
    assert audio_in.again(60_100) == [(60_100, first[0][1][200:]), *first[1:]]


@given(sizes, positions, positions, positions)
def test_the_audio_of_a_turn_without_text_is_kept(chunks: list[int], used: int, start: int, length: int) -> None:
    audio_in = filled(chunks, [used], keep_from=start)
    end = min(start + length, audio_in.at_sample)
    found = audio_in.between(start, start + length)
    assert found is not None
    at_sample, pcm = found
    assert pcm == SIX_SECONDS[start * 2 : end * 2]
    assert at_sample == start or not pcm


def test_the_audio_of_a_turn_is_forgotten_when_it_has_its_text() -> None:
    audio_in = filled([], [0], keep_from=0)
    audio_in.consumed(90_000)
    assert audio_in.between(0, 90_000) == (0, SIX_SECONDS[:180_000])
    audio_in.keep_from = None
    audio_in.consumed(90_000)
    assert audio_in.between(0, 90_000) is None


def test_of_a_turn_whose_beginning_is_forgotten_the_rest_is_found_if_it_can_be_padding_alone() -> None:
    audio_in = filled([], [96_000])
    kept = audio_in.again(0)[0][0]
    assert kept > 0
    assert audio_in.between(kept - BACK, 90_000) == (kept, SIX_SECONDS[kept * 2 : 180_000])
    assert audio_in.between(kept - BACK - 16, 90_000) is None


def test_a_turn_that_ends_before_it_begins_has_no_audio() -> None:
    assert filled([], []).between(16_000, 8_000) == (8_000, b"")


@pytest.mark.parametrize("keep_from", [None, 0])
def test_what_is_kept_is_bounded(keep_from: int | None) -> None:
    audio_in = InputAudio()
    audio_in.keep_from = keep_from
    second = bytes(1024 * BYTES_PER_MS)
    for _ in range(KEPT_MS // 1000 + 20):
        list(audio_in.push(second))
        audio_in.consumed(audio_in.at_sample)
    kept_ms = to_ms(audio_in.at_sample - audio_in.again(0)[0][0])
    most_ms = BACK_MS if keep_from is None else KEPT_MS
    assert most_ms <= kept_ms <= most_ms + BLOCK_BYTES // BYTES_PER_MS


def test_a_position_that_was_never_sent_stands_for_all_that_was() -> None:
    audio_in = InputAudio()
    list(audio_in.push(TWO_SECONDS))
    audio_in.consumed(2**63)
    assert audio_in.consumed_sample == audio_in.at_sample
    assert audio_in.again(2**63) == []


def test_positions_do_not_go_back() -> None:
    audio_in = InputAudio()
    list(audio_in.push(TWO_SECONDS))
    audio_in.consumed(16_000)
    audio_in.consumed(8_000)
    assert audio_in.consumed_sample == 16_000


def test_it_is_full_when_the_vad_is_seconds_behind() -> None:
    audio_in = InputAudio()
    second = bytes(1024 * BYTES_PER_MS)
    for _ in range(3):
        list(audio_in.push(second))
    assert not audio_in.full
    list(audio_in.push(second))
    assert audio_in.full
    assert audio_in.in_flight_ms == 4096
    audio_in.consumed((4096 - IN_FLIGHT_MS) * 16 + 16)
    assert not audio_in.full


def test_the_vad_need_not_tell_of_the_last_it_used() -> None:
    audio_in = InputAudio()
    assert audio_in.caught_up
    list(audio_in.push(bytes(1024 * BYTES_PER_MS)))
    assert not audio_in.caught_up
    audio_in.consumed((1024 - UNTOLD_MS) * 16)
    assert not audio_in.caught_up
    audio_in.consumed((1024 - UNTOLD_MS) * 16 + 16)
    assert audio_in.caught_up
