"""What can go wrong in the gateway.

GatewayError
 ├── RefusedError      a client cannot be served now; the message goes to it in the way of its protocol
 └── UnknownNameError  a client names an engine or a voice that nobody has; the same
"""


class GatewayError(Exception):
    """Any error of this package."""


class RefusedError(GatewayError):
    """A client cannot be served now."""


class UnknownNameError(GatewayError):
    """A client asks by name for what nobody here has."""
