"""What can go wrong in front of the suite.

LauncherError                 the message is one line for the person at the terminal
 ├── UsageError               a flag, a file or a device cannot work (exit status 2)
 └── ConnectionFailedError    no conversation with a running suite
      ├── UnreachableError    nothing answers at the address
      ├── RefusedError        the suite has no room, or a service is missing; carries its reason
      └── ClosedError         the suite ended the connection
"""


class LauncherError(Exception):
    """Any error of this package."""


class UsageError(LauncherError):
    """A flag, a file or a device cannot work. The message names the remedy."""


class ConnectionFailedError(LauncherError):
    """No conversation with a running suite."""


class UnreachableError(ConnectionFailedError):
    """Nothing answers at the address."""


class RefusedError(ConnectionFailedError):
    """The suite has no room, or a service is missing."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the suite refused the connection: {reason}")
        self.reason = reason


class ClosedError(ConnectionFailedError):
    """The suite ended the connection. *code* is that of the WebSocket, 0 in socket mode."""

    def __init__(self, code: int = 0, reason: str = "") -> None:
        told = " ".join(part for part in (f"({code})" if code else "", reason) if part)
        super().__init__(f"the suite closed the connection {told}".rstrip())
        self.code = code
        self.reason = reason
