"""Models that hear the end of a turn: one file each, named as the engine is."""
