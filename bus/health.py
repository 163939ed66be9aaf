"""Health and metrics over HTTP, on a thread of its own: it answers also when the event loop does not."""

import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable
from http.client import HTTPException
from socketserver import TCPServer, ThreadingMixIn
from typing import TYPE_CHECKING, Final
from urllib.error import HTTPError, URLError
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app

from bus.errors import ConfigurationError

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

# A loop that has not turned for so long is taken for dead. A loop runs no inference; seconds are out of the ordinary.
STALLED_LOOP_S: Final = 10.0

# How soon `close` is noticed.
SHUTDOWN_POLL_S: Final = 0.05

Wsgi = Callable[["WSGIEnvironment", "StartResponse"], Iterable[bytes]]


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


class _QuietHandler(WSGIRequestHandler):
    timeout = 5.0
    """Seconds for a request to arrive; a peer that says nothing does not keep a thread."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the inherited name
        """Say nothing: a health check every few seconds is no news."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        # Without HTTPServer's look-up of the host's own name, which takes seconds where no name server answers.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()


class HealthServer:
    """Serves `/health/live`, `/health/ready` and `/metrics`. Close it when done."""

    def __init__(self, health: Health, host: str, port: int) -> None:
        self._health = health
        self._metrics: Wsgi = make_wsgi_app()
        try:
            self._server = make_server(host, port, self._respond, server_class=_Server, handler_class=_QuietHandler)
        except (OSError, OverflowError) as error:
            raise ConfigurationError(
                f"cannot serve health on {host}:{port}: {error}; choose another with --health_port (0: any)"
            ) from error
        threading.Thread(target=self._server.serve_forever, args=(SHUTDOWN_POLL_S,), name="health", daemon=True).start()
        self.url = f"http://{host}:{self._server.server_port}"

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()

    def _respond(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        match environ["PATH_INFO"]:
            case "/metrics":
                return self._metrics(environ, start_response)
            case "/health/live":
                problem = self._health.why_not_live()
            case "/health/ready":
                problem = self._health.why_not_ready()
            case _:
                start_response("404 Not Found", [("Content-Type", "text/plain")])
                return [b"/health/live, /health/ready, /metrics\n"]
        start_response("503 Service Unavailable" if problem else "200 OK", [("Content-Type", "text/plain")])
        return [(problem or "ok").encode() + b"\n"]


def check(url: str, timeout_s: float = 3.0) -> str:
    """Ask a `/health/...` *url*; return "" if it answers ok, else what is wrong."""
    try:
        # No proxy: the process is on this machine, whatever the environment says of the world outside.
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=timeout_s) as response:
            response.read()
    except HTTPError as error:
        return error.read().decode(errors="replace").strip() or str(error)
    except (URLError, OSError, ValueError, HTTPException) as error:
        return f"no answer from {url}: {error}"
    return ""


def main() -> int:
    """Be the health check of a container: `python -m bus.health [URL]`."""
    url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:9100/health/ready"
    problem = check(url)
    if problem:
        sys.stderr.write(problem + "\n")
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main())
