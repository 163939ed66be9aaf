"""The Realtime conversation without I/O: items, manual turns, tool calls, several responses."""
