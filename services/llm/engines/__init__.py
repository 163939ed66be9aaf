"""Engines of the LLM service: one file each, named as the engine is."""
