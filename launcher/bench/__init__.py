"""Benchmarks that users run. Each prints a ratio or a distribution and names the machine."""
