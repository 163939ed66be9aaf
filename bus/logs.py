"""Structured logs: JSON lines in containers, readable lines on a terminal. Never speech content unless asked for."""

import logging
import sys
import time
import traceback
from typing import Final, Literal

import structlog

LogFormat = Literal["auto", "json", "console"]

# Exceptions that led to one another are logged so far back.
MOST_CAUSES: Final = 5


def configure(service: str, level: str = "info", style: LogFormat = "auto", *, content: bool = False) -> None:
    """Send every log record of the process to standard error, marked with *service*.

    Exceptions are logged by type and place; with their text only if *content* is allowed, for it may hold speech.
    """
    json = style == "json" or (style == "auto" and not sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info if content else structlog.processors.ExceptionRenderer(_without_text),
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if json
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    structlog.contextvars.bind_contextvars(service=service)


def _without_text(exc_info: structlog.typing.ExcInfo) -> str:
    """Return the traceback of an exception and of those that led to it, with types for texts."""
    parts: list[str] = []
    error: BaseException | None = exc_info[1]
    while error is not None and len(parts) < MOST_CAUSES:
        frames = "".join(traceback.format_tb(error.__traceback__))
        parts.append(f"Traceback (most recent call last):\n{frames}{type(error).__qualname__}: (text withheld)")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n\nwhich came from\n\n".join(parts)


class OncePerSecond:
    """Lets the same kind of event into the log once a second at most, with a count of those it held back."""

    def __init__(self) -> None:
        self._next: dict[str, float] = {}
        self._held: dict[str, int] = {}

    def held_back(self, kind: str) -> int | None:
        """Return how many events of *kind* were held back since the last one logged, or None to hold this one too."""
        now = time.monotonic()
        if now < self._next.get(kind, 0.0):
            self._held[kind] = self._held.get(kind, 0) + 1
            return None
        self._next[kind] = now + 1.0
        return self._held.pop(kind, 0)
