"""Where clients come in: sockets and connections, no conversation."""
