"""The log-mel features are those of transformers."""

import numpy as np
import pytest

from services.vad.end_of_turn.features import log_mel
from services.vad.end_of_turn.model import LONGEST
from services.vad.engine import Floats


def sound(samples: int) -> Floats:
    """Return a rising tone in noise."""
    time = np.arange(samples) / 16_000
    noise = np.random.default_rng(5).standard_normal(samples) * 0.02
    result: Floats = (0.3 * np.sin(2 * np.pi * (200 + 300 * time) * time) + noise).astype(np.float32)
    return result


@pytest.mark.parametrize("samples", [0, 1, 5_000, 40_000, LONGEST, LONGEST + 7_777])
def test_they_equal_those_of_whispers_feature_extractor(samples: int) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed (make test-engines does)")
    turn = sound(samples)
    filled = np.pad(turn[-LONGEST:], (LONGEST - min(samples, LONGEST), 0))
    extractor = transformers.WhisperFeatureExtractor(chunk_length=8)
    wanted = extractor(
        filled, sampling_rate=16_000, padding="max_length", max_length=LONGEST, do_normalize=True, return_tensors="np"
    ).input_features[0]
    found = log_mel(turn)
    assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-5)


def test_only_the_last_8_s_count_and_loudness_does_not() -> None:
    turn = sound(LONGEST + 16_000)
    np.testing.assert_array_equal(log_mel(turn), log_mel(turn[16_000:]))
    np.testing.assert_allclose(log_mel(turn * np.float32(0.25)), log_mel(turn), rtol=0, atol=1e-3)


def test_a_short_turn_stands_at_the_end() -> None:
    features = log_mel(sound(16_000))
    assert features[:, :690].max() < features[:, 710:].max(axis=0).min()
