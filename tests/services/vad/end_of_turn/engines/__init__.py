"""Tests of the end-of-turn models."""
