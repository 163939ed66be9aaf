"""A listener's loudspeaker: was every piece of an answer there when it had to sound? No I/O."""

from launcher.load.findings import Findings


class Playout:
    """Plays one answer from its first piece on, with no buffer but what came.

    A piece that comes after the one before it has ended is a stutter: one hears a hole, and all the rest is later.
    """

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self.first_ms: float | None = None
        """When the first piece came."""
        self.last_ms = 0.0
        """When the newest piece came."""
        self.dry_ms = 0.0
        """When all that came will have been played."""

    def take(self, length_ms: float, now_ms: float) -> None:
        """Take a piece that sounds for *length_ms*."""
        counts = self._findings.counts
        counts["chunks"] += 1
        if self.first_ms is None:
            self.first_ms = self.dry_ms = now_ms
        elif now_ms > self.dry_ms:
            counts["late_chunks"] += 1
            self._findings.time("stutter", now_ms - self.dry_ms)
            self.dry_ms = now_ms
        self.last_ms = now_ms
        self.dry_ms += length_ms

    def playing(self, now_ms: float) -> bool:
        """Tell whether anything is left to be heard."""
        return self.first_ms is not None and now_ms < self.dry_ms
