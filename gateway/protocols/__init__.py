"""Bytes of clients to events and back, without I/O."""
