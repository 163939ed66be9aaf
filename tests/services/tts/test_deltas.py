"""Pieces of text in order."""

import pytest

from bus.errors import EngineError
from services.tts.deltas import WAITING, DeltaOrder


def test_pieces_come_out_in_order_and_once() -> None:
    order = DeltaOrder()
    taken = [order.take(seq, text) for seq, text in [(0, "a"), (0, "a"), (2, "c"), (1, "b"), (1, "x"), (3, "d")]]
    assert taken == ["a", "", "", "bc", "", "d"]
    assert not order.has_gap
    order.finish(4)


@pytest.mark.parametrize(("seqs", "deltas"), [([0, 1], 3), ([0, 2], 3), ([1], 2), ([], 1)])
def test_what_is_missing_at_the_end_is_lost(seqs: list[int], deltas: int) -> None:
    order = DeltaOrder()
    for seq in seqs:
        order.take(seq, "x")
    with pytest.raises(EngineError, match="lost"):
        order.finish(deltas)


def test_no_text_at_all_is_complete() -> None:
    DeltaOrder().finish(0)


def test_the_wait_for_a_piece_is_bounded() -> None:
    order = DeltaOrder()
    for seq in range(1, WAITING + 1):
        order.take(seq, "x")
    with pytest.raises(EngineError):
        order.take(WAITING + 1, "x")
