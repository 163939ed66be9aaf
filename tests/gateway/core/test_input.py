"""The audio clock: nothing lost, nothing twice, whatever the chunks."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.input import BLOCK_BYTES, BYTES_PER_MS, IN_FLIGHT_MS, UNTOLD_MS, WINDOW_BYTES, InputAudio, to_ms


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


@given(sizes, st.lists(st.integers(0, 40_000), max_size=5))
def test_what_is_sent_again_is_exactly_what_was_not_used(chunks: list[int], used: list[int]) -> None:
    audio_in = InputAudio()
    for chunk in split(TWO_SECONDS, chunks):
        list(audio_in.push(chunk))
    for at_sample in used:
        audio_in.consumed(at_sample)
    newest = min(max(used, default=0), audio_in.at_sample)
    assert audio_in.consumed_sample == newest
    again = audio_in.again()
    assert b"".join(pcm for _, pcm in again) == TWO_SECONDS[newest * 2 : audio_in.at_sample * 2]
    assert not again or again[0][0] == newest
    assert all(after == before + len(pcm) // 2 for (before, pcm), (after, _) in pairwise(again))


def test_a_position_that_was_never_sent_stands_for_all_that_was() -> None:
    audio_in = InputAudio()
    list(audio_in.push(TWO_SECONDS))
    audio_in.consumed(2**63)
    assert audio_in.consumed_sample == audio_in.at_sample
    assert audio_in.again() == []


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
