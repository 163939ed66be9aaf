"""Counters and histograms of the LLM service. Labels hold no session ids and no speech content."""

from prometheus_client import Counter, Histogram

FIRST_TOKEN_SECONDS = Histogram(
    "speech_llm_first_token_seconds",
    "From the start of a generation to its first text or tool call.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
TOKENS = Counter("speech_llm_tokens_total", "Tokens as the engine counts them.", ["kind"])
GENERATIONS = Counter("speech_llm_generations_total", "Generations that ended, by reason.", ["reason"])
