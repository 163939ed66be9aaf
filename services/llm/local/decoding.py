"""What the engine asks of whatever decodes, and how it is told to decode."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Final, Protocol

# Temperature 0 where only sampling is offered: the likeliest token wins by e^10 if it is 0.0001 ahead (logits are
# 32-bit floats there).
GREEDY: Final = 1e-5


@dataclass(frozen=True, slots=True)
class Asked:
    """One answer."""

    prompt: tuple[int, ...]
    tokens: int
    """How many it may have at most, the one that ends it included."""
    temperature: float
    """0: always the likeliest token."""


class Decoder(Protocol):
    """Continues prompts."""

    def tokens(self, asked: Asked) -> AsyncGenerator[list[int], None]:
        """Yield the next tokens as they come, up to one that ends the answer (included) or as many as are allowed.

        Closing it frees what the answer holds; at most the token that is being computed is computed for nothing.

        Raises:
            EngineError: the answer could not be made, or not finished.
        """
        ...

    async def stop(self) -> None:
        """Let go of everything; answers that are open fail. Idempotent."""
        ...


def ends_of(model: Any, tokenizer: Any) -> frozenset[int]:
    """Return the tokens that end an answer: those of the model's generation settings, and the tokenizer's."""
    named = model.generation_config.eos_token_id
    listed = named if isinstance(named, list | tuple) else [named]
    return frozenset(token for token in (*listed, tokenizer.eos_token_id) if token is not None and token >= 0)
