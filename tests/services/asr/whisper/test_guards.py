"""What is kept out of the transcript."""

import pytest

from services.asr.whisper.guards import Decoded, Guards


@pytest.mark.parametrize(
    ("no_speech", "log_prob", "shown"),
    [(0.7, -1.1, False), (0.7, -0.9, True), (0.5, -1.1, True), (0.5, -0.9, True)],
)
def test_silence_is_what_the_model_takes_for_silence_and_has_no_sure_words_for(
    no_speech: float, log_prob: float, *, shown: bool
) -> None:
    assert Guards().pass_on(Decoded("thank you", "en", log_prob, no_speech)) is shown


def test_a_loop_is_not_shown() -> None:
    looping = Decoded("thank you " * 20, "en", -0.1, 0.0)
    assert not Guards().pass_on(looping)
    assert Guards(compression_ratio=100.0).pass_on(looping)


def test_an_empty_text_passes() -> None:
    assert Guards().pass_on(Decoded("", "en", 0.0, 0.0))
