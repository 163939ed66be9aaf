"""Health and metrics over HTTP, on a thread of its own: it answers also when the event loop does not."""

import asyncio
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from socketserver import TCPServer, ThreadingMixIn
from typing import TYPE_CHECKING, Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app

from bus.errors import ConfigurationError
from bus.health import Health
from bus.metrics import count_tasks

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

# Who asks for health: an orchestrator, a scraper or two, a person.
MOST_AT_ONCE: Final = 32
# How soon `close` is noticed.
SHUTDOWN_POLL_S: Final = 0.05

# What an operator asks: method and path. The answer is status line and JSON; None: no such thing here.
Answer = tuple[str, bytes]
Operate = Callable[[str, str], Answer | None]

Wsgi = Callable[["WSGIEnvironment", "StartResponse"], Iterable[bytes]]


class _QuietHandler(WSGIRequestHandler):
    timeout = 5.0
    """Seconds for a request to arrive; a peer that says nothing does not keep a thread."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the inherited name
        """Say nothing: a health check every few seconds is no news."""


class _Server(ThreadingMixIn, WSGIServer):
    """Serves `MOST_AT_ONCE` connections at a time, each on a thread; more are closed at once."""

    daemon_threads = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._room = threading.BoundedSemaphore(MOST_AT_ONCE)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def server_bind(self) -> None:
        # Without HTTPServer's look-up of the host's own name, which takes seconds where no name server answers.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()


class HealthServer:
    """Serves `/health/live`, `/health/ready` and `/metrics`. Close it when done.

    *operate* is asked about every other path, on a thread of the server: it gets method and path and returns status
    line and JSON, or None. Scripts of web pages are kept from it.
    """

    def __init__(self, health: Health, host: str, port: int, operate: Operate = lambda _method, _path: None) -> None:
        self._health = health
        self._operate = operate
        self._metrics: Wsgi = make_wsgi_app()
        with suppress(RuntimeError):  # a process without a loop
            count_tasks(asyncio.get_running_loop())
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
            case path:
                of_a_page = "HTTP_ORIGIN" in environ  # browsers name the page that a script's request comes from
                answer = None if of_a_page else self._operate(environ["REQUEST_METHOD"], path)
                if answer is not None:
                    start_response(answer[0], [("Content-Type", "application/json")])
                    return [answer[1]]
                start_response("404 Not Found", [("Content-Type", "text/plain")])
                return [b"/health/live, /health/ready, /metrics\n"]
        start_response("503 Service Unavailable" if problem else "200 OK", [("Content-Type", "text/plain")])
        return [(problem or "ok").encode() + b"\n"]
