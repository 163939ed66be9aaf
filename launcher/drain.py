"""`speech-to-speech drain ID`: have a service finish what it has and end, while conversations go on."""

import time
from argparse import ArgumentParser
from typing import Final

from launcher import operating
from launcher.errors import LauncherError

POLL_S: Final = 0.2


def main(args: list[str]) -> int:
    """Drain one service and wait until it is gone. Exit status 1 if it is still there when the time is over."""
    parser = ArgumentParser("speech-to-speech drain", description="Have a service finish its work and end.")
    parser.add_argument("id", help="its id, or the beginning of it, as `speech-to-speech services` shows it")
    operating.add_gateway(parser)
    parser.add_argument("--wait_s", type=float, default=60.0, help="how long to wait for its end (default 60)")
    told = parser.parse_args(args)
    services = operating.ask(told.gateway, "GET", "/services")["services"]
    meant = [service for service in services if service["id"].startswith(told.id)]
    if len(meant) != 1:
        which = "no service has" if not meant else f"{len(meant)} services have"
        raise LauncherError(f"{which} an id that begins with {told.id!r}; see speech-to-speech services")
    service = meant[0]
    others = [s for s in services if s["role"] == service["role"] and s["state"] == "ready" and s is not service]
    print(f"draining {service['role']} {service['engine']} ({service['id']}), {service['leases']} leases")
    if not others:
        print(f"warning: no other {service['role']} is ready; turns wait until there is one")
    operating.ask(told.gateway, "POST", f"/services/{service['id']}/drain")
    give_up_at = time.monotonic() + told.wait_s
    while any(s["id"] == service["id"] for s in operating.ask(told.gateway, "GET", "/services")["services"]):
        if time.monotonic() > give_up_at:
            print(f"still there after {told.wait_s:g} s")
            return 1
        time.sleep(POLL_S)
    print("gone")
    return 0
