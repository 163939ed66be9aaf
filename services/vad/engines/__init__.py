"""Engines of the VAD service: one file each, named as the engine is."""
