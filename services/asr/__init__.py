"""The ASR service: the speech of a turn in, its text out."""
