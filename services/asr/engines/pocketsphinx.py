"""CMU PocketSphinx: small, English, its model inside the package; needs no download and no accelerator.

It holds Python's lock while it decodes, so each decode has a worker process; a turn decodes while it is spoken.
"""

import os
from functools import cache
from importlib.util import find_spec

from pydantic import BaseModel, Field

from bus.errors import ConfigurationError
from services.asr.engine import Abilities, Request, Stream
from services.asr.sphinx.pool import Pool
from services.asr.sphinx.recogniser import Recogniser


class Settings(BaseModel):
    """What the pocketsphinx engine can be told."""

    workers: int = Field(
        default_factory=lambda: len(os.sched_getaffinity(0)),
        ge=1,
        le=256,
        description="processes, each recognising one turn at a time; default: one for each core",
    )


class Engine:
    """Recognises English in worker processes. More turns than workers wait in order, their audio kept."""

    def __init__(self, settings: Settings) -> None:
        self._pool = Pool(settings.workers)

    @property
    def pool(self) -> Pool:
        """The workers and the turns they work for."""
        return self._pool

    async def load(self) -> Abilities:
        """Start the workers.

        Raises:
            ConfigurationError: pocketsphinx is not installed, or its model cannot be loaded.
        """
        if find_spec("pocketsphinx") is None:
            raise ConfigurationError("pocketsphinx is not installed: pip install pocketsphinx")
        await self._pool.start()
        return Abilities(model="en-us-ptm", languages=("en-US",), streaming=True)

    def stream(self, request: Request) -> Stream:  # noqa: ARG002 - there is one model, and it takes no hints
        """Begin a turn, last in the queue for a worker."""
        return self._pool.join()

    async def stop(self) -> None:
        """End the workers."""
        await self._pool.stop()


def recognise(pcm: bytes) -> str:
    """Return the text of one utterance (16 kHz mono 16-bit), decoded here and now with the engine's own settings.

    Blocks, and loads the model at the first call: for measurements, to compare the service with.
    """
    recogniser = _recogniser()
    recogniser.begin()
    recogniser.accept(pcm)
    recogniser.end()
    while recogniser.step():
        pass
    return recogniser.result().text


@cache
def _recogniser() -> Recogniser:
    return Recogniser()
