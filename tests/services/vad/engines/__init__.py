"""Tests of the VAD engines."""
