"""Pacing and what was heard, with a clock that only the test moves."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.playout import PIECE_MS, PlayOut

RATE = 16_000
NOW = 1000.0


def pcm(ms: float, rate: int = RATE) -> bytes:
    """Return audio of *ms* that is not silence."""
    return b"\1\2" * int(ms * rate / 1000)


def played_out(playout: PlayOut, now_ms: float = NOW) -> Iterator[tuple[float, bytes]]:
    """Yield (time, what is handed over then) until nothing is left, with ticks exactly when they are due."""
    while True:
        yield now_ms, playout.take(now_ms)
        due_ms = playout.next_due_ms()
        if due_ms is None:
            return
        assert due_ms > now_ms
        now_ms = due_ms


def test_nothing_is_due_of_nothing() -> None:
    playout = PlayOut(RATE, 200)
    assert playout.take(NOW) == b""
    assert playout.next_due_ms() is None
    assert playout.heard_ms(NOW) == 0
    assert playout.heard_text(NOW) == ""
    assert not playout.drained


def test_the_lead_is_handed_over_at_once_and_the_rest_in_time() -> None:
    playout = PlayOut(RATE, 200)
    playout.feed(pcm(1000), "Hello")
    assert len(playout.take(NOW)) == len(pcm(200))
    assert playout.take(NOW) == b""
    assert playout.next_due_ms() == NOW + PIECE_MS
    assert playout.take(NOW + 19) == b""
    assert len(playout.take(NOW + 20)) == len(pcm(20))
    assert len(playout.take(NOW + 120)) == len(pcm(100))


def test_what_is_not_handed_over_has_not_been_heard() -> None:
    playout = PlayOut(RATE, 200)
    playout.feed(pcm(1000), "Hello")
    assert playout.heard_ms(NOW) == 0
    playout.take(NOW)
    assert [playout.heard_ms(NOW + after) for after in (0, 50, 200, 900)] == [0, 50, 200, 200]


def test_after_a_gap_the_client_is_given_its_lead_again() -> None:
    playout = PlayOut(RATE, 200)
    playout.feed(pcm(100), "Hello ")
    playout.take(NOW)
    assert playout.next_due_ms() is None
    playout.feed(pcm(500), "there")
    later = NOW + 5000
    assert len(playout.take(later)) == len(pcm(200))
    assert playout.heard_ms(later) == 100
    assert playout.heard_ms(later + 60) == 160


def test_the_client_has_dried_out_when_its_last_sample_was_due() -> None:
    playout = PlayOut(RATE, 200)
    playout.feed(pcm(300), "")
    last = [at for at, piece in played_out(playout) if piece][-1]
    assert last == NOW + 100
    assert playout.dry_at_ms == NOW + 300


def test_it_is_drained_when_it_is_complete_and_handed_over() -> None:
    playout = PlayOut(RATE, 200)
    playout.feed(pcm(300), "")
    playout.take(NOW)
    assert not playout.drained
    playout.complete = True
    assert not playout.drained
    playout.take(NOW + 300)
    assert playout.drained


def test_what_was_stopped_is_gone() -> None:
    playout = PlayOut(RATE, 200)
    playout.feed(pcm(1000), "Hello")
    playout.take(NOW)
    playout.stop()
    assert playout.drained
    assert playout.next_due_ms() is None
    assert playout.take(NOW + 5000) == b""
    assert playout.sent_ms == 200


def test_of_a_clause_in_the_middle_the_words_that_fit_the_time_were_heard() -> None:
    playout = PlayOut(RATE, 10_000)
    playout.feed(pcm(500), "One two. ")
    playout.feed(pcm(500), "")
    playout.feed(pcm(1000), "three four five")
    playout.take(NOW)
    heard = {after: playout.heard_text(NOW + after) for after in (0, 500, 1000, 1300, 1500, 1700, 2000)}
    assert heard == {
        0: "",
        500: "One",
        1000: "One two.",
        1300: "One two.",
        1500: "One two. three",
        1700: "One two. three four",
        2000: "One two. three four five",
    }


def test_a_clause_without_any_audio_yet_was_not_heard() -> None:
    playout = PlayOut(RATE, 200)
    playout.feed(b"", "Hello ")
    assert playout.heard_text(NOW) == ""
    playout.feed(pcm(100), "")
    playout.take(NOW)
    assert playout.heard_text(NOW + 50) == ""
    assert playout.heard_text(NOW + 100) == "Hello"


def test_a_clause_that_makes_no_sound_is_heard_with_the_one_after_it() -> None:
    playout = PlayOut(RATE, 200)
    playout.feed(pcm(60), "One ")
    playout.feed(b"", "… ")
    playout.feed(pcm(60), "two")
    playout.take(NOW)
    assert playout.heard_text(NOW + 60) == "One"
    assert playout.heard_text(NOW + 120) == "One … two"


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000])
def test_at_every_rate_whole_samples_are_handed_over_and_the_last_word_is_heard(rate: int) -> None:
    playout = PlayOut(rate, 60)
    for _ in range(30):
        playout.feed(pcm(33, rate), "")
    playout.feed(pcm(100, rate), "every single word")
    pieces = list(played_out(playout))
    assert not any(len(piece) % 2 for _, piece in pieces)
    assert playout.heard_text(pieces[-1][0] + 1000) == "every single word"


chunks = st.lists(st.integers(0, 4000), max_size=12)
leads = st.integers(PIECE_MS, 500)
waits = st.lists(st.floats(0, 300), min_size=1, max_size=40)
rates = st.sampled_from([8_000, 16_000, 22_050, 24_000, 48_000])


@given(rates, chunks, leads)
def test_all_that_was_fed_is_handed_over_in_order_once_time_passes(rate: int, sizes: list[int], lead_ms: int) -> None:
    playout = PlayOut(rate, lead_ms)
    fed = b""
    for number, samples in enumerate(sizes):
        audio = bytes([number, number + 1]) * samples
        playout.feed(audio, "")
        fed += audio
    playout.complete = True
    assert b"".join(piece for _, piece in played_out(playout)) == fed
    assert playout.drained
    assert playout.sent_ms == playout.received_ms


@given(rates, chunks, leads, waits)
def test_the_lead_is_never_exceeded_and_no_more_is_heard_than_was_sent(
    rate: int, sizes: list[int], lead_ms: int, pauses: list[float]
) -> None:
    playout = PlayOut(rate, lead_ms)
    now_ms, heard_ms = NOW, 0.0
    for turn, pause_ms in enumerate(pauses):
        if turn < len(sizes):
            playout.feed(b"\0\1" * sizes[turn], "")
        playout.take(now_ms)
        assert playout.dry_at_ms - now_ms <= lead_ms + 1e-6
        assert playout.sent_ms <= playout.received_ms
        now_ms += pause_ms
        assert heard_ms - 1e-6 <= playout.heard_ms(now_ms) <= playout.sent_ms
        heard_ms = playout.heard_ms(now_ms)


words = st.text("ab \n,.", max_size=12)


@given(st.lists(st.tuples(words, st.integers(0, 3000)), max_size=8), leads, st.floats(0, 2000))
def test_what_was_heard_is_a_beginning_of_the_text_that_ends_with_a_whole_word(
    clauses: list[tuple[str, int]], lead_ms: int, after_ms: float
) -> None:
    playout = PlayOut(RATE, lead_ms)
    for text, samples in clauses:
        playout.feed(b"\0\1" * samples, text)
    playout.take(NOW)
    playout.take(NOW + after_ms)
    whole = "".join(text for text, _ in clauses)
    heard = playout.heard_text(NOW + after_ms)
    borders = {0}
    for text, _ in clauses:  # a clause is cut off between words; its end is a border in any case
        borders.add(max(borders) + len(text))
    rest = whole[len(heard) :]
    assert whole.startswith(heard)
    assert not rest or rest[0].isspace() or len(heard) in borders
