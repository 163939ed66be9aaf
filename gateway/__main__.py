"""The gateway's process: `python -m gateway --mode socket,websocket`."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import structlog
import uvloop

from bus import logs
from bus.curve import read_keys
from bus.errors import ConfigurationError
from bus.health_server import HealthServer
from bus.main import allow_open_files, die
from bus.settings import parse
from gateway import garbage, rounds
from gateway.bus_link import BusLink
from gateway.listeners.tcp import TcpListener
from gateway.listeners.web import WebListener
from gateway.operating import Operating
from gateway.settings import GatewaySettings, join_modes

log = structlog.get_logger(__name__)

Signals = asyncio.Queue[None]
Listeners = list[TcpListener | WebListener]

# ZeroMQ's own thread gets the last closes out in this time, before LINGER 0 drops them.
LAST_FRAMES_S: Final = 0.02


async def serve(settings: GatewaySettings) -> None:
    """Serve until SIGTERM or SIGINT; then let answers end, for a while, and close every client and socket.

    Raises:
        ExceptionGroup: of a ConfigurationError, when a setting cannot work, or of a bug's error. Without what renews
            leases and looks after services the gateway would look well and serve nobody: it closes all then, too.
    """
    signals: Signals = asyncio.Queue()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, signals.put_nowait, None)
    link = BusLink(settings.bind, settings.advertise, read_keys(settings.bus_keys))
    health: HealthServer | None = None
    try:
        async with asyncio.TaskGroup() as tasks:
            housekeeping = [tasks.create_task(link.run())]
            health = HealthServer(link.health, settings.health_host, settings.health_port, Operating(link))
            async with _listening(link, settings) as listeners:
                housekeeping += map(tasks.create_task, (garbage.collect(link), rounds.keep(link, settings.round_ms)))
                await signals.get()
                await _drain(link, listeners, signals, settings.drain_timeout_s)
            for task in housekeeping:
                task.cancel()
    finally:
        await asyncio.sleep(LAST_FRAMES_S)
        link.close()
        if health is not None:
            await asyncio.to_thread(health.close)
        log.info("stopped")


@asynccontextmanager
async def _listening(link: BusLink, settings: GatewaySettings) -> AsyncIterator[Listeners]:
    """Listen for clients; close those that are left at the end."""
    listeners: Listeners = []
    try:
        web_modes = [mode for mode in settings.mode if mode != "socket"]
        if web_modes:
            web = WebListener(link, settings)
            await web.start()
            listeners.append(web)
            log.info("listening", mode=",".join(web_modes), address=web.listening_on)
        if "socket" in settings.mode:
            tcp = TcpListener(link, settings)
            await tcp.start()
            listeners.append(tcp)
            log.info("listening", mode="socket", receiving=tcp.receiving_on, sending=tcp.sending_on)
        yield listeners
    finally:
        await asyncio.gather(*(listener.stop() for listener in listeners))


async def _drain(link: BusLink, listeners: Listeners, signals: Signals, patience_s: float) -> None:
    """Let nobody in, and wait until all have left, *patience_s* are over, or a second signal comes."""
    log.info("stopping", sessions=link.sessions)
    for listener in listeners:
        listener.stop_listening()
    link.drain()
    ends = [asyncio.ensure_future(end) for end in (link.until_empty(), signals.get())]
    try:
        await asyncio.wait(ends, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for end in ends:
            end.cancel()
    log.info("closing", sessions=link.sessions)


def main() -> None:
    """Run the gateway; exit status 2 if a setting cannot work, 1 after a bug that it cannot live with."""
    unfit: BaseException | None = None
    status = 0
    settings = parse(GatewaySettings, join_modes(sys.argv[1:]), "gateway")
    logs.configure("gateway", settings.log_level, settings.log_format)
    allow_open_files()
    try:
        uvloop.run(serve(settings))
    except* ConfigurationError as group:  # also one that comes alone
        unfit = group.exceptions[0]
    except* Exception as group:
        status = 1
        for error in group.exceptions:
            log.exception("the gateway failed", exc_info=error)
    # Outside of the clauses: Python 3.11.2, which is Debian's, makes a group of what is raised inside, SystemExit too.
    if unfit is not None:
        die("gateway", unfit)
    sys.exit(status)


if __name__ == "__main__":
    main()
