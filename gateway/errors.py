"""What can go wrong in the gateway.

GatewayError
 └── RefusedError   a client cannot be served now; the message goes to it in the way of its protocol
"""


class GatewayError(Exception):
    """Any error of this package."""


class RefusedError(GatewayError):
    """A client cannot be served now."""
