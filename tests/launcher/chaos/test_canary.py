import pytest

from launcher.chaos import canary
from services.asr.engines.scripted import tones


@pytest.mark.parametrize("rate", [16_000, 24_000])
def test_every_tone_is_told_from_its_neighbours_in_each_block(rate: int) -> None:
    for hertz in canary.TONES:
        assert canary.heard_in(canary.tone(hertz, 0.2, rate), rate) == {hertz: 10}


def test_a_block_of_another_tone_is_found_in_an_answer() -> None:
    pcm = canary.tone(1000, 0.2) + canary.tone(1050, 0.02) + canary.tone(1000, 0.2)
    assert canary.heard_in(pcm, 16_000) == {1000: 20, 1050: 1}


def test_silence_is_no_tone() -> None:
    assert not canary.heard_in(bytes(6400), 16_000)
    assert not canary.heard_in(b"", 16_000)


@pytest.mark.parametrize("hertz", canary.TONES[:: len(canary.TONES) // 5])
def test_the_scripted_recogniser_writes_the_tone_and_texts_that_name_it_are_read(hertz: int) -> None:
    heard = tones(canary.tone(hertz, 0.6))
    assert canary.named_in(canary.REPLY.replace("{text}", heard)) == {hertz}


@pytest.mark.parametrize("sessions", [1, 2, 16, 32, len(canary.TONES)])
def test_no_two_sessions_share_a_tone(sessions: int) -> None:
    all_tones = [hertz for place in range(sessions) for hertz in canary.tones_of(place, sessions)]
    assert len(set(all_tones)) == len(all_tones) >= sessions


def test_more_sessions_than_tones_are_refused() -> None:
    with pytest.raises(ValueError, match="60 sessions at most"):
        canary.tones_of(0, 61)
