"""A client whose every utterance is a tone of its own: it knows whether what it hears is meant for it."""

import asyncio
import math
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Self

from launcher.client import Audio, WebSocketClient, connect_websocket, speak
from launcher.errors import ClosedError, RefusedError
from tests.e2e.ledger import Ledger, Tones, tone

# Long enough to be named, and the silence that ends a turn (500 ms) with what a vad rounds up.
SPOKEN_S: Final = 0.5
SILENCE_S: Final = 0.7


class Canary:
    """One conversation over the raw WebSocket. `ended` says why the suite closed it, "" while it has not."""

    def __init__(self, client: WebSocketClient, tones: Tones) -> None:
        self.ledger = Ledger()
        self.ended = ""
        self.refused = False
        self._client = client
        self._tones = tones
        self._happened = asyncio.Event()
        self._listening = asyncio.create_task(self._listen())

    @classmethod
    async def arrive(cls, port: int, tones: Tones) -> Self:
        """Connect to the suite at *port* of this machine; the conversation may be refused later.

        Raises:
            UnreachableError, ConnectionFailedError: no suite takes connections there.
        """
        return cls(await connect_websocket("127.0.0.1", port), tones)

    async def say(self, *, silent_after: bool = True, pace: float = math.inf) -> int:
        """Say a tone, *pace* times as fast as real time; return which, in Hz.

        Without the silence after it, the client is one that stopped sending while it spoke.
        """
        hz = self._tones.take()
        self.ledger.say(hz)
        pcm = tone(hz, SPOKEN_S) + (bytes(2 * int(SILENCE_S * 16_000)) if silent_after else b"")
        with suppress(ClosedError, RefusedError):  # `ended` tells
            await speak(self._client, pcm, pace=pace)
        return hz

    async def until(self, holds: Callable[[Ledger], object], patience_s: float) -> bool:
        """Wait until something *holds* of what was heard; return whether it does, in time or at the end."""
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                while not (holds(self.ledger) or self.ended):
                    self._happened.clear()
                    await self._happened.wait()
        return bool(holds(self.ledger))

    async def leave(self) -> None:
        """Say goodbye."""
        await self._stop()
        await self._client.close()

    async def vanish(self) -> None:
        """Reset the connection, as a client that crashes does."""
        await self._stop()
        self._client.abort()

    async def _stop(self) -> None:
        self._listening.cancel()
        with suppress(asyncio.CancelledError):
            await self._listening

    async def _listen(self) -> None:
        try:
            while True:
                item = await self._client.receive()
                self.ledger.take(item)
                if not isinstance(item, Audio) or self.ledger.answering:
                    self._happened.set()
        except (ClosedError, RefusedError) as end:
            self.ended = str(end) or "closed without a word"
            self.refused = isinstance(end, RefusedError)
        finally:
            self._happened.set()
