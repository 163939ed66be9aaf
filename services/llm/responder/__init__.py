"""The rules behind the embedded engine. No I/O; clock and dice come from outside."""
