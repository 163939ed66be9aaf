"""The clients of a gateway, as what only counts them sees them."""

from dataclasses import dataclass


@dataclass
class Clients:
    """How many sessions there are."""

    sessions: int = 0
