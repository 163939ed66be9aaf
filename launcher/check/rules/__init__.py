"""The rules of the contract, a module for each of its parts. `RULES` is all of them in the order they are checked."""

from typing import Final

from launcher.check.rule import Rule
from launcher.check.rules import announcing, asr, ending, framing, inputs, leasing, llm, stopping, tts, vad, watching

RULES: Final[tuple[Rule, ...]] = (
    *announcing.RULES,
    *watching.RULES,
    *framing.RULES,
    *leasing.RULES,
    *stopping.RULES,
    *inputs.RULES,
    *vad.RULES,
    *asr.RULES,
    *llm.RULES,
    *tts.RULES,
    *ending.RULES,
)
