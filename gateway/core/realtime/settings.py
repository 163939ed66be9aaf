"""What the core of a Realtime session is told at its start, beside the session's own configuration."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RealtimeSettings:
    """Durations in ms, sizes in bytes.

    The time-outs are for what comes next: use of the audio, a transcript, the next piece of text or of speech.
    """

    lead_ms: int = 30_000
    """How far an answer's audio may run ahead of real time. Clients play at their own pace and may get more than they
    will ever play; this bounds what is synthesised for nobody."""
    starvation_ms: int = 2_000
    """After so long without audio in the middle of speech the client is taken to have stopped: silence is heard."""
    buffer_ms: int = 300_000
    """Audio not yet committed. Beyond it manual turns refuse more, detected turns forget the oldest."""
    kept_audio_bytes: int = 8_388_608
    """Audio of items, kept for `retrieve`; of the oldest items it is forgotten first."""
    max_items: int = 1_000
    """Items kept; the oldest are forgotten first."""
    max_content_bytes: int = 33_554_432
    """Text and images in items. More is refused."""
    max_responses: int = 8
    """Responses at the same time, those out of band included."""
    context_tokens: int = 28_224
    """What a model is told at most, estimated at 4 characters a token. (32k of context less 4096 of output.)"""
    lenient_calls: bool = False
    """Whether outputs of unknown function calls are accepted: histories that are replayed in part."""
    vad_timeout_ms: int = 5_000
    settle_ms: int = 1_000
    """How long after a commit the vad may still say that there was speech before it, while it acknowledges nothing."""
    transcript_timeout_ms: int = 15_000
    text_timeout_ms: int = 30_000
    speech_timeout_ms: int = 15_000
