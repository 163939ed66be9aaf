"""Proof that nothing is lost: a whole suite under live conversations, while its services are killed, paused, replaced."""
