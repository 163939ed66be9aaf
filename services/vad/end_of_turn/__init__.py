"""Advice at a pause: whether the speaker has finished. `engines/` holds the models, one file each."""
