"""Says back what it is told."""

from pydantic import BaseModel, Field


class Settings(BaseModel):
    """Settings of this engine."""

    times: int = Field(1, ge=1, description="how often it says it")
    api_key: str = Field("", max_length=5, description="nobody may see it")


class Engine:
    """Repeats."""

    def __init__(self, settings: Settings) -> None:
        self._times = settings.times

    def load(self) -> None:
        """Need nothing."""

    def say(self, word: str) -> str:
        """Return *word* as often as is set."""
        return word * self._times
