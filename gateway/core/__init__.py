"""The conversation without I/O: events in, commands out."""
