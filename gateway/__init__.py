"""The gateway: owns every client connection, and is the only place where a conversation is remembered."""
