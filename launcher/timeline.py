"""Shows a conversation as it goes on: colours and a moving line on a terminal, plain lines elsewhere."""

import sys
from types import TracebackType
from typing import Any, Final, Protocol, Self

_STYLES: Final = {
    "heard": "bold cyan",
    "answer": "bold green",
    "said": "green",
    "interrupted": "yellow",
    "not heard": "yellow",
    "failed": "bold red",
    "error": "bold red",
    "latency": "magenta",
}


class Timeline(Protocol):
    """Where a conversation is shown. A context manager."""

    def show(self, at_s: float, kind: str, text: str) -> None:
        """Show what happened at *at_s* seconds."""
        ...

    def title(self, text: str) -> None:
        """Begin a new conversation."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class PlainTimeline:
    """Prints a line for everything."""

    def show(self, at_s: float, kind: str, text: str) -> None:
        """Print a line."""
        print(f"{at_s:7.2f} s  {kind:<11} {text}".rstrip(), flush=True)

    def title(self, text: str) -> None:
        """Print a line."""
        print(text, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class SilentTimeline(PlainTimeline):
    """Shows nothing."""

    def show(self, at_s: float, kind: str, text: str) -> None:
        """Show nothing."""

    def title(self, text: str) -> None:
        """Show nothing."""


class TerminalTimeline:
    """Prints lines with colours; what is only half understood moves in a last line of its own."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(highlight=False)
        self._status: Any = self._console.status("listening")

    def show(self, at_s: float, kind: str, text: str) -> None:
        """Print a line, or change the last one."""
        from rich.text import Text

        if kind == "partial":
            self._status.update(Text(text, style="dim"))
            return
        if kind == "speech":
            self._status.update("listening" if text.startswith("started") else "thinking")
        line = Text(f"{at_s:7.2f} s  {kind:<11} ", style="dim")
        line.append(text, style=_STYLES.get(kind, ""))
        self._console.print(line)

    def title(self, text: str) -> None:
        """Print a heading."""
        from rich.text import Text

        self._console.print(Text(text, style="bold"))

    def __enter__(self) -> Self:
        self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._status.stop()


def timeline(*, quiet: bool = False) -> Timeline:
    """Return the timeline that suits standard output."""
    if quiet:
        return SilentTimeline()
    if not sys.stdout.isatty():
        return PlainTimeline()
    try:
        return TerminalTimeline()
    except ImportError:  # without the extra `launcher`
        return PlainTimeline()
