"""`speech-to-speech services`: what runs beside a gateway, and how busy it is."""

import json
from argparse import ArgumentParser
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table

from launcher import operating

MOST_NAMES: Final = 4
WIDTHS: Final = {"model": 16, "speaks": 20}
# So much tells services apart; `drain` takes any beginning.
ID_CHARACTERS: Final = 8


def main(args: list[str]) -> int:
    """Print a table of all services that the gateway knows, or JSON."""
    parser = ArgumentParser("speech-to-speech services", description="List the services that a gateway works with.")
    operating.add_gateway(parser)
    parser.add_argument("--json", action="store_true", help="print JSON: one object for each service")
    told = parser.parse_args(args)
    services = operating.ask(told.gateway, "GET", "/services")["services"]
    if told.json:
        print(json.dumps(services, indent=2))
    else:
        Console().print(table(services))
    return 0


def table(services: list[dict[str, Any]]) -> Table:
    """Return the services as a table."""
    shown = Table(box=box.SIMPLE_HEAD)
    for column in ("id", "role", "engine", "model", "state", "load", "speaks"):
        shown.add_column(column, no_wrap=True, max_width=WIDTHS.get(column))
    for service in services:
        names = [*service["languages"], *service["voices"]]
        more = f" +{len(names) - MOST_NAMES}" if len(names) > MOST_NAMES else ""
        shown.add_row(
            service["id"][:ID_CHARACTERS],
            service["role"],
            service["engine"],
            service["model"],
            service["state"],
            f"{service['leases']}/{service['capacity']}",
            ", ".join(names[:MOST_NAMES]) + more,
        )
    return shown
