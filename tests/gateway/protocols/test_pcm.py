"""Raw bytes of clients: any chunks, full blocks."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.protocols.pcm import CLIENT_BLOCK_BYTES, BlockPadder, SampleAligner


@given(st.lists(st.binary(max_size=9), max_size=30))
def test_any_chunks_give_whole_samples_and_lose_only_a_last_odd_byte(chunks: list[bytes]) -> None:
    aligner = SampleAligner()
    samples = [aligner.push(chunk) for chunk in chunks]
    sent = b"".join(chunks)
    assert not any(len(piece) % 2 for piece in samples)
    assert b"".join(samples) == sent[: len(sent) // 2 * 2]


def test_a_lone_byte_waits_for_its_other_half() -> None:
    aligner = SampleAligner()
    assert aligner.push(b"\1") == b""
    assert aligner.push(b"") == b""
    assert aligner.push(b"\2") == b"\1\2"


@given(st.lists(st.lists(st.integers(0, 5000), max_size=5), max_size=5))
def test_every_answer_ends_with_a_full_block(answers: list[list[int]]) -> None:
    padder = BlockPadder()
    written = 0
    for pieces in answers:
        for size in pieces:
            padder.sent(bytes(size))
            written += size
        padding = padder.padding()
        written += len(padding)
        assert not any(padding)
        assert len(padding) < CLIENT_BLOCK_BYTES
        assert written % CLIENT_BLOCK_BYTES == 0


def test_an_answer_without_audio_is_not_padded() -> None:
    assert BlockPadder().padding() == b""


@given(st.lists(st.tuples(st.integers(0, 9000), st.integers(0, 9000)), max_size=6))
def test_what_was_dropped_before_it_was_written_does_not_shift_the_blocks(answers: list[tuple[int, int]]) -> None:
    padder = BlockPadder()
    written = 0
    for size, dropped in answers:
        padder.sent(bytes(size))
        padder.dropped(min(dropped, written + size))  # it may reach into the answers before
        written += size - min(dropped, written + size)
        written += len(padder.padding())
        assert written % CLIENT_BLOCK_BYTES == 0
