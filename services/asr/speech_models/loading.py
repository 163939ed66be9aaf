"""Loads a speech model for the transformers engine."""

from typing import Final

from bus.errors import ConfigurationError
from services import pretrained
from services.asr.speech_models.model import SpeechModel, Spelling, Writing
from services.asr.whisper.guards import Guards
from services.asr.whisper.window import SAMPLE_RATE
from services.pretrained import Source

REQUIREMENTS: Final = "services/asr/requirements/transformers.txt"


async def load(source: Source, guards: Guards) -> SpeechModel:
    """Return the model, loaded in a thread and warmed up.

    Raises:
        ConfigurationError: see `services.pretrained.load`.
    """
    return await pretrained.load(source, "speech", REQUIREMENTS, lambda source, device: read(source, device, guards))


def read(source: Source, device: str, guards: Guards) -> SpeechModel:
    """Return the model on *device*. Blocks.

    Raises:
        ConfigurationError: it recognises no speech, or none at 16 kHz.
        Exception: whatever transformers raises.
    """
    from transformers import (
        AutoConfig,
        AutoFeatureExtractor,
        AutoModelForCTC,
        AutoModelForSpeechSeq2Seq,
        AutoTokenizer,
    )

    cache = source.download_root or None
    config = AutoConfig.from_pretrained(source.model, cache_dir=cache)
    kinds = ((AutoModelForSpeechSeq2Seq, Writing), (AutoModelForCTC, Spelling))
    auto, kind = next(((auto, kind) for auto, kind in kinds if pretrained.knows(auto, config)), (None, SpeechModel))
    if auto is None:
        raise ConfigurationError(f"{source.model} is a {config.model_type} model, which recognises no speech")
    extractor = AutoFeatureExtractor.from_pretrained(source.model, cache_dir=cache)
    if extractor.sampling_rate != SAMPLE_RATE:
        raise ConfigurationError(f"{source.model} hears {extractor.sampling_rate} Hz, and the bus carries 16 kHz")
    tokenizer = AutoTokenizer.from_pretrained(source.model, cache_dir=cache)
    model = kind(pretrained.weights(auto, source, config, device), extractor, tokenizer, guards)
    model.warm_up()
    return model
