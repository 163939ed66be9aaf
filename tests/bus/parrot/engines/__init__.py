"""Engines of the parrot, good and bad."""
