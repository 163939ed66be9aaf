"""Engines of the ASR service: one file each, named as the engine is."""
