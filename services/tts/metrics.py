"""What the TTS service counts beside the bus's own metrics."""

from prometheus_client import Counter, Histogram

FIRST_AUDIO_SECONDS = Histogram(
    "speech_tts_first_audio_seconds",
    "From a response's first text here to its first audio ready to be sent.",
    buckets=(0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.3, 0.5, 1, 2, 5),
)
REAL_TIME_FACTOR = Histogram(
    "speech_tts_real_time_factor",
    "Time to make a clause, for each second of its audio.",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2),
)
AUDIO_SECONDS = Counter("speech_tts_audio_seconds_total", "Audio sent.")
CLAUSES = Counter("speech_tts_clauses_total", "Clauses, by what became of them.", ["outcome"])
GRANT_WAIT_SECONDS = Counter("speech_tts_grant_wait_seconds_total", "Time that finished audio waited for its grant.")
