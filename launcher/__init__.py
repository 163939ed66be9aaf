"""Runs the whole suite on one machine; holds the command `speech-to-speech` and the benchmarks."""
