"""`speech-to-speech say FILE.wav`: streams recordings to a running suite as a microphone would, shows what happens."""

import argparse
import asyncio
import json
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Final

from launcher import recording
from launcher.client import (
    BYTES_PER_MS,
    TcpClient,
    WebSocketClient,
    connect_tcp,
    connect_websocket,
    speak,
    websocket_url,
)
from launcher.errors import ClosedError, ConnectionFailedError
from launcher.exchange import Exchange
from launcher.timeline import Timeline, timeline

# How often it is asked whether all is said.
POLL_S: Final = 0.05
# What a microphone hears after the recording, a second at a time.
SILENCE: Final = bytes(1000 * BYTES_PER_MS)


def main(args: list[str]) -> int:
    """Say every file; return 0 if every one was answered, 1 if not."""
    told = _parser().parse_args(args)
    recordings = [(path, recording.read(path)) for path in told.files]
    with timeline(quiet=told.json) as shown:
        return asyncio.run(_say_all(recordings, told, shown))


async def converse(
    client: WebSocketClient | TcpClient,
    pcm: bytes,
    show: Callable[[float, str, str], None],
    *,
    pace: float = 1.0,
    patience_s: float = 20.0,
) -> Exchange:
    """Say *pcm*, then be silent until it is answered or nothing came for *patience_s*; return what was heard.

    Raises:
        RefusedError: the suite has no room, or a service is missing.
    """
    loop = asyncio.get_running_loop()
    begun_s = loop.time()
    exchange = Exchange(
        show,
        events=isinstance(client, WebSocketClient),
        begun_s=begun_s,
        sounds_ms=recording.sounds_end_ms(pcm),
        pace=pace,
    )

    async def say() -> None:
        spoken_s = await speak(client, pcm, pace=pace, begun_s=begun_s)
        exchange.spoken(spoken_s)
        while True:
            spoken_s = await speak(client, SILENCE, begun_s=spoken_s)

    async def hear() -> None:
        while True:
            exchange.take(await client.receive())

    tasks = [asyncio.ensure_future(say()), asyncio.ensure_future(hear())]
    try:
        while not exchange.over(loop.time(), patience_s):
            done, _ = await asyncio.wait(tasks, timeout=POLL_S, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # raises why it ended: the connection is gone
    except ClosedError as closed:
        exchange.outcome.failures.append(str(closed))
        show(loop.time() - begun_s, "failed", str(closed))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return exchange


async def _say_all(recordings: list[tuple[Path, bytes]], told: argparse.Namespace, shown: Timeline) -> int:
    unanswered = 0
    for number, (path, pcm) in enumerate(recordings, start=1):
        async with await _connect(told) as client:
            shown.title(f"{path.name} ({len(pcm) / BYTES_PER_MS / 1000:.1f} s) to {_where(told)}")
            exchange = await converse(
                client, pcm, shown.show, pace=math.inf if told.fast else 1.0, patience_s=told.patience
            )
        outcome = exchange.finish()
        unanswered += not exchange.answered
        saved = ""
        if told.out is not None and exchange.pcm:
            saved = str(out_path(told.out, path, number, len(recordings)))
            recording.write(Path(saved), bytes(exchange.pcm))
        if told.json:
            fields = {"file": str(path), "answered": exchange.answered, **asdict(outcome), "saved": saved}
            print(json.dumps(fields, ensure_ascii=False), flush=True)
        else:
            shown.title(summary(exchange, saved))
    if len(recordings) > 1:
        shown.title(f"{len(recordings) - unanswered} of {len(recordings)} recordings were answered")
    return 1 if unanswered else 0


def summary(exchange: Exchange, saved: str) -> str:
    """Return a line about what became of a recording."""
    outcome = exchange.finish()
    if not exchange.answered:
        reason = "; ".join(outcome.failures) or ("no speech was heard" if not outcome.turns else "nothing was answered")
        return f"  NOT ANSWERED: {reason}\n"
    facts = [f"{outcome.answer_s:.1f} s of answer"]
    if outcome.first_audio_ms is not None:
        facts.append(f"heard {outcome.first_audio_ms / 1000:.2f} s after the speech")
    if outcome.own_latency_ms is not None:
        facts.append(f"own latency {outcome.own_latency_ms:.1f} ms")
    if outcome.turns:
        facts.append(f"turns {outcome.turns}, answers {outcome.completed}, interrupted {outcome.cancelled}")
    if saved:
        facts.append(f"saved to {saved}")
    return "  answered: " + ", ".join(facts) + "\n"


def out_path(out: Path, recorded: Path, number: int, total: int) -> Path:
    """Return where an answer goes: into the folder *out*, or to *out* with a number where there are several."""
    if out.is_dir():
        return out / f"{recorded.stem}-answer.wav"
    return out if total == 1 else out.with_name(f"{out.stem}-{number}{out.suffix}")


def _where(told: argparse.Namespace) -> str:
    if told.mode == "websocket":
        return websocket_url(told.host, told.ws_port)
    return f"{told.host}:{told.recv_port}, {told.send_port}"


async def _connect(told: argparse.Namespace) -> WebSocketClient | TcpClient:
    try:
        if told.mode == "websocket":
            return await connect_websocket(told.host, told.ws_port)
        return await connect_tcp(told.host, told.recv_port, told.send_port)
    except ConnectionFailedError as error:
        other = " (or say --mode, --host and the ports of the one that runs)"
        raise type(error)(str(error) + other) from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="speech-to-speech say",
        description="Stream recordings to a running suite in real time, show what it hears and answers. "
        "Exit status 0 if every recording was answered.",
        allow_abbrev=False,
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.wav", help="recordings, said one after the other")
    parser.add_argument("--mode", choices=("websocket", "socket"), default="websocket", help="how to connect")
    parser.add_argument("--host", default="localhost", help="where the suite runs (default: %(default)s)")
    parser.add_argument("--ws_port", type=int, default=8765, help="port of --mode websocket (default: %(default)s)")
    parser.add_argument("--recv_port", type=int, default=12345, help="port to speak to in --mode socket")
    parser.add_argument("--send_port", type=int, default=12346, help="port to listen on in --mode socket")
    parser.add_argument("--out", type=Path, help="save the answer to this WAV file (several: numbered; or a folder)")
    parser.add_argument("--fast", action="store_true", help="send recordings at once instead of in real time")
    parser.add_argument(
        "--patience", type=float, default=20.0, metavar="S", help="give up when nothing came for so long (20 s)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object a recording instead of a timeline")
    return parser
