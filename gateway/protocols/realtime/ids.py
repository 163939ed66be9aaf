"""Names for what a connection makes: 32 characters at most, because clients keep them in fields of that size."""

import secrets


def new_id(prefix: str) -> str:
    """Return a name that nothing else has, `PREFIX_` and 20 hexadecimal digits."""
    return f"{prefix}_{secrets.token_hex(10)}"


class EventIds:
    """Names the server events of one connection: a random part for the connection, and a count."""

    def __init__(self) -> None:
        self._prefix = f"event_{secrets.token_hex(5)}"
        self._count = 0

    def next(self) -> str:
        """Return the next name."""
        self._count += 1
        return f"{self._prefix}{self._count:08x}"
