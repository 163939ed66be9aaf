"""Cannot load, and says what would help."""

from bus.errors import ConfigurationError
from tests.bus.parrot.engines.echo import Engine as Echo
from tests.bus.parrot.engines.echo import Settings

__all__ = ["Engine", "Settings"]


class Engine(Echo):
    """Fails."""

    def load(self) -> None:
        """Fail."""
        raise ConfigurationError("no model here; pip install parrot-model")
