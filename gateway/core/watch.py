"""Who has fallen silent: the client in the middle of its speech, or the vad with audio unused."""

from typing import Final

# Clients send chunks, and one that sends a second at a time has not stopped for the second in between. What comes in
# longer chunks is taken for a file.
CHUNK_MS: Final = 1000


class Watch:
    """Knows when the client's audio runs out and how long the vad may still take.

    Durations in ms; *now_ms* is any clock that only grows.
    """

    def __init__(self, now_ms: float, starvation_ms: int, vad_timeout_ms: int) -> None:
        self._starvation_ms = starvation_ms
        self._vad_timeout_ms = vad_timeout_ms
        self._audio_until_ms = now_ms
        self._starving_since_ms: float | None = None
        self._used_due_ms: float | None = None

    @property
    def starving_at_ms(self) -> float:
        """When a client that sends nothing more has stopped, or needs silence again."""
        return self._audio_until_ms + self._starvation_ms

    @property
    def vad_due_ms(self) -> float | None:
        """When the vad is given up unless it does what is waited for; None while nothing is."""
        starved = [] if self._starving_since_ms is None else [self._starving_since_ms + self._vad_timeout_ms]
        unused = [] if self._used_due_ms is None else [self._used_due_ms]
        return min(starved + unused, default=None)

    def client_sent(self, now_ms: float, duration_ms: float) -> None:
        """Note audio of the client: played in real time it lasts for its duration."""
        self._audio_until_ms = min(max(self._audio_until_ms, now_ms) + duration_ms, now_ms + CHUNK_MS)
        self._starving_since_ms = None

    def client_held_up(self, now_ms: float) -> None:
        """Note that the client was not read until now: it did not stop."""
        self._audio_until_ms = max(self._audio_until_ms, now_ms)

    def silence_sent(self, now_ms: float) -> None:
        """Note silence given to the vad in the client's place: the turn should end now."""
        self._audio_until_ms = now_ms
        if self._starving_since_ms is None:
            self._starving_since_ms = now_ms

    def turn_ended(self) -> None:
        """Note that the vad has done what the silence was for."""
        self._starving_since_ms = None

    def vad_owes(self, now_ms: float) -> None:
        """Note that the vad has audio which it must acknowledge."""
        if self._used_due_ms is None:
            self._used_due_ms = now_ms + self._vad_timeout_ms

    def vad_owes_nothing(self) -> None:
        """Note that the vad has acknowledged something, or is gone."""
        self._used_due_ms = None
