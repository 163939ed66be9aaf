"""A whole service of a few lines, run as a process of its own by tests: `python -m tests.bus.parrot`."""
