"""Whether a process lives and takes work, and the command that asks it: `python -m bus.health URL`.

A container's engine runs that command every few seconds. So nothing is imported here but what it needs, and not
urllib.request, which takes longer to import than all of this to run.
"""

import sys
import time
from collections.abc import Callable
from contextlib import closing
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from typing import Final
from urllib.parse import urlsplit

# A loop that has not turned for so long is taken for dead. A loop runs no inference; seconds are out of the ordinary.
STALLED_LOOP_S: Final = 10.0


class Health:
    """What `/health/live` and `/health/ready` say.

    `beat` is called by the event loop; `not_ready` returns the reason why the process takes no work, "" if it does.
    """

    def __init__(self, not_ready: Callable[[], str]) -> None:
        self._not_ready = not_ready
        self._beat_at = time.monotonic()

    def beat(self) -> None:
        """Say that the event loop turns. Call about once a second."""
        self._beat_at = time.monotonic()

    def why_not_live(self) -> str:
        """Return why the process should be restarted, "" if it should not."""
        silent_s = time.monotonic() - self._beat_at
        return f"event loop silent for {silent_s:.0f} s" if silent_s > STALLED_LOOP_S else ""

    def why_not_ready(self) -> str:
        """Return why the process takes no work, "" if it does."""
        return self.why_not_live() or self._not_ready()


def check(url: str, timeout_s: float = 3.0) -> str:
    """Ask a `/health/...` *url*; return "" if it answers ok, else what is wrong."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        return f"no answer from {url}: it is no http:// address"
    try:
        # No proxy, whatever the environment says: the process is on this machine.
        connection = HTTPConnection(parts.hostname, parts.port, timeout=timeout_s)
        with closing(connection):
            connection.request("GET", parts.path or "/")
            response = connection.getresponse()
            said = response.read().decode(errors="replace").strip()
    except (OSError, ValueError, HTTPException) as error:
        return f"no answer from {url}: {error}"
    return "" if response.status == HTTPStatus.OK else said or f"{response.status} {response.reason}"


def main() -> int:
    """Be the health check of a container: `python -m bus.health [URL]`."""
    url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:9100/health/ready"
    problem = check(url)
    if problem:
        sys.stderr.write(problem + "\n")
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main())
