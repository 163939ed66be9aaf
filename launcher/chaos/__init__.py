"""Proof that nothing is lost: a suite in live conversations while its services are killed, paused, replaced."""
