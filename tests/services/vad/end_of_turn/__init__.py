"""Tests of the advice at a pause."""
