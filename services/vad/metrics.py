"""Metrics of this service, beside those of every process (`bus.metrics`)."""

from prometheus_client import Counter, Histogram

BATCH_SIZE = Histogram("speech_vad_batch_size", "Sessions in one step of the engine.", buckets=(1, 2, 4, 8, 16, 24, 32))
STEP_SECONDS = Histogram(
    "speech_vad_step_seconds",
    "Duration of one step of the engine.",
    buckets=(0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.1, 1),
)
WINDOWS = Counter("speech_vad_windows_total", "Windows of audio that the engine was given.")
END_OF_TURN = Counter(
    "speech_vad_end_of_turn_total",
    "Questions to the end-of-turn model: finished or unfinished it said; or resumed (the user), or late: the turn was "
    "over, before it said anything; or failed.",
    ["outcome"],
)
END_OF_TURN_SECONDS = Histogram(
    "speech_vad_end_of_turn_seconds",
    "Duration of one call of the end-of-turn model.",
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2),
)
TURNS = Counter("speech_vad_turns_total", "Turns that began.")
MISSING_SAMPLES = Counter(
    "speech_vad_missing_samples_total", "Samples that never came: filled with silence, or jumped over.", ["outcome"]
)
REPEATED_SAMPLES = Counter("speech_vad_repeated_samples_total", "Samples that came again and were cut off.")
