"""The gateway's process: `python -m gateway --mode socket,websocket`."""

import asyncio
import signal
import sys

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


async def serve(settings: GatewaySettings) -> None:
    """Serve until SIGTERM or SIGINT; then let answers end, for a while, and close every client and socket."""
    signals: asyncio.Queue[None] = asyncio.Queue()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, signals.put_nowait, None)
    link = BusLink(settings.bind, settings.advertise, read_keys(settings.bus_keys))
    health: HealthServer | None = None
    listeners: list[TcpListener | WebListener] = []
    watching = asyncio.create_task(link.run())
    housekeeping: list[asyncio.Task[None]] = []
    try:
        health = HealthServer(link.health, settings.health_host, settings.health_port, Operating(link))
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
        housekeeping += map(asyncio.create_task, (garbage.collect(link), rounds.keep(link, settings.round_ms)))
        await signals.get()
        log.info("stopping", sessions=link.sessions)
        for listener in listeners:
            listener.stop_listening()
        link.drain()
        ends = [asyncio.ensure_future(end) for end in (link.until_empty(), signals.get())]  # asked twice: now
        await asyncio.wait(ends, timeout=settings.drain_timeout_s, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()
        log.info("closing", sessions=link.sessions)
    finally:
        await asyncio.gather(*(listener.stop() for listener in listeners))
        for task in (watching, *housekeeping):
            task.cancel()
        await asyncio.sleep(0.02)  # ZeroMQ's own thread gets the last closes out before LINGER 0 drops them
        link.close()
        if health is not None:
            await asyncio.to_thread(health.close)
        log.info("stopped")


def main() -> None:
    """Run the gateway; exit status 2 if a setting cannot work."""
    settings = parse(GatewaySettings, join_modes(sys.argv[1:]), "gateway")
    logs.configure("gateway", settings.log_level, settings.log_format)
    allow_open_files()
    try:
        uvloop.run(serve(settings))
    except ConfigurationError as error:
        die("gateway", error)


if __name__ == "__main__":
    main()
