"""Metrics of this service, beside those of every process (`bus.metrics`)."""

from prometheus_client import Counter, Histogram

BATCH_SIZE = Histogram("speech_vad_batch_size", "Sessions in one step of the engine.", buckets=(1, 2, 4, 8, 16, 24, 32))
STEP_SECONDS = Histogram(
    "speech_vad_step_seconds",
    "Duration of one step of the engine.",
    buckets=(0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.1, 1),
)
WINDOWS = Counter("speech_vad_windows_total", "Windows of audio that the engine was given.")
TURNS = Counter("speech_vad_turns_total", "Turns that began.")
MISSING_SAMPLES = Counter(
    "speech_vad_missing_samples_total", "Samples that never came: filled with silence, or jumped over.", ["outcome"]
)
REPEATED_SAMPLES = Counter("speech_vad_repeated_samples_total", "Samples that came again and were cut off.")
