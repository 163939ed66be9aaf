"""Makes Whisper models of any size with random weights: they understand nothing, and cost what real ones cost."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# OpenAI's own, after <|startoftranscript|>: 99 languages, then what to do.
FIRST_LANGUAGE: Final = 50259
LANGUAGES: Final = 99
TASKS: Final = {"translate": 50358, "transcribe": 50359}
NO_TIMESTAMPS: Final = 50363
START: Final = 50258
END: Final = 50257


@dataclass(frozen=True, slots=True)
class Size:
    """What tells the sizes apart; encoder and decoder have as many layers and heads."""

    width: int
    layers: int
    heads: int


# Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision" (2022), table 1; "nano" is for tests.
SIZES: Final = {"nano": Size(32, 2, 2), "tiny": Size(384, 4, 6), "base": Size(512, 6, 8), "small": Size(768, 12, 12)}


def build(size: str, tokenizer: Path, folder: Path, spread: float = 0.02) -> Path:
    """Write a multilingual Whisper of *size* to *folder*, as transformers reads it.

    *tokenizer* is a folder with `tokenizer.json` and `preprocessor_config.json` of a multilingual Whisper. *spread* is
    the standard deviation of the weights; much more than Whisper's own 0.02, and the words depend on the audio.
    """
    import torch
    from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration, WhisperTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.manual_seed(0)
    made = SIZES[size]
    words = WhisperTokenizer(tokenizer_file=str(tokenizer / "tokenizer.json"))
    special = {"pad_token_id": END, "bos_token_id": END, "eos_token_id": END, "decoder_start_token_id": START}
    model = WhisperForConditionalGeneration(
        WhisperConfig(
            d_model=made.width,
            encoder_layers=made.layers,
            decoder_layers=made.layers,
            encoder_attention_heads=made.heads,
            decoder_attention_heads=made.heads,
            encoder_ffn_dim=4 * made.width,
            decoder_ffn_dim=4 * made.width,
            init_std=spread,
            **special,
        )
    )
    codes = words.convert_ids_to_tokens(range(FIRST_LANGUAGE, FIRST_LANGUAGE + LANGUAGES))
    model.generation_config = GenerationConfig(
        is_multilingual=True,
        lang_to_id={code: FIRST_LANGUAGE + at for at, code in enumerate(codes)},
        task_to_id=TASKS,
        no_timestamps_token_id=NO_TIMESTAMPS,
        suppress_tokens=[],
        begin_suppress_tokens=[],
        alignment_heads=[[made.layers - 1, 0]],
        max_length=448,
        **special,
    )
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    shutil.copy(tokenizer / "preprocessor_config.json", folder)
    return folder


def convert(folder: Path, target: Path, quantization: str = "int8") -> Path:
    """Write what is in *folder* to *target*, as faster-whisper reads it."""
    from ctranslate2.converters import TransformersConverter

    files = ["tokenizer.json", "preprocessor_config.json"]
    TransformersConverter(str(folder), copy_files=files).convert(str(target), quantization=quantization, force=True)
    return target
