"""Asks a running gateway, at its health port, what operators ask."""

import json
import urllib.error
import urllib.request
from argparse import ArgumentParser
from typing import Any, Final

from launcher.errors import LauncherError

GATEWAY: Final = "http://127.0.0.1:9100"
PATIENCE_S: Final = 10.0


def add_gateway(parser: ArgumentParser) -> None:
    """Add the flag that says which gateway is meant."""
    parser.add_argument("--gateway", default=GATEWAY, help=f"address of the gateway's health port (default {GATEWAY})")


def ask(gateway: str, method: str, path: str) -> Any:
    """Return the gateway's answer.

    Raises:
        LauncherError: there is no gateway, or it does not do it; says why.
    """
    url = gateway.rstrip("/") + path
    if not url.startswith(("http://", "https://")):
        raise LauncherError(f"--gateway {gateway!r} is no address; write http://HOST:PORT")
    request = urllib.request.Request(url, method=method)  # noqa: S310 - checked above
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:  # noqa: S310
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise LauncherError(
            f"the gateway at {gateway} says: {error.read().decode(errors='replace').strip()}"
        ) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise LauncherError(
            f"no gateway at {gateway} ({reason}); name the host and port of its --health_port"
        ) from error
