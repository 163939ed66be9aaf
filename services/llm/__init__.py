"""The LLM service: conversation in, answer out, piece by piece."""
