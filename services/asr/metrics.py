"""Counters and histograms of the ASR service. Labels hold no session ids and no speech content."""

from prometheus_client import Counter, Gauge, Histogram

FINAL_SECONDS = Histogram(
    "speech_asr_final_seconds",
    "From the last speech of a turn to its transcript.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
AUDIO_SECONDS = Counter("speech_asr_audio_seconds_total", "Seconds of audio that were recognised.")
REAL_TIME_FACTOR = Histogram(
    "speech_asr_real_time_factor",
    "Seconds of computing for a second of audio, by turn.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 1.5, 2, 5),
)
TURNS_WAITING = Gauge("speech_asr_turns_waiting", "Turns that wait for a worker.")
WORKERS_LOST = Counter("speech_asr_workers_lost_total", "Workers that died or had to be killed.")
BATCH_WINDOWS = Histogram(
    "speech_asr_batch_windows",
    "Windows of audio that were decoded in one batch, by kind.",
    ["kind"],
    buckets=(1, 2, 4, 8, 16, 32, 64),
)
BATCHES_SPLIT = Counter("speech_asr_batches_split_total", "Batches that failed and were tried again in halves.")
