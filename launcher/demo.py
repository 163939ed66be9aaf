"""`speech-to-speech demo`: runs the suite, asks it a question with its own embedded voice, saves the answer."""

import argparse
from pathlib import Path
from typing import Final

from bus import engines
from bus.errors import ConfigurationError
from launcher import ports, recording
from launcher.cli import COMMANDS
from launcher.client import BYTES_PER_MS, TcpClient, WebSocketClient, connect_tcp, connect_websocket
from launcher.errors import UsageError
from launcher.flags import plan
from launcher.parts import Plan
from launcher.say import converse
from launcher.suite import CLIENT_PORTS, run_suite, say
from launcher.timeline import timeline

QUESTION: Final = "What is seventeen plus twenty five?"
# A voice that begins at once is no recording: people breathe in first, and detectors hear the room.
BREATH_MS: Final = 300


def main(args: list[str]) -> int:
    """Run the demonstration; return 0 if an answer was heard."""
    told, flags = _parser().parse_known_args(args)
    planned = _beside_others(plan(flags, COMMANDS))
    tts = next(part.engine for part in planned.services if part.role == "tts")
    question = _spoken(told.text, tts)
    out = told.out.resolve()

    async def ask(planned: Plan) -> int:
        return await _ask(planned, told.text, question, out)

    return run_suite(planned, ask)


async def _ask(planned: Plan, text: str, question: bytes, out: Path) -> int:
    settings = planned.settings
    client: WebSocketClient | TcpClient
    if "websocket" in settings.mode:
        client = await connect_websocket(ports.local(settings.ws_host), settings.ws_port)
    else:
        client = await connect_tcp(ports.local(settings.recv_host), settings.recv_port, settings.send_port)
    with timeline() as shown:
        shown.title(f'asking, by voice: "{text}"')
        async with client:
            exchange = await converse(client, question, shown.show)
    outcome = exchange.finish()
    if not exchange.answered:
        say(f"\nNo answer was heard: {'; '.join(outcome.failures) or 'nothing came'}")
        return 1
    recording.write(out, bytes(exchange.pcm))
    say("")
    if outcome.heard:
        say(f"  asked     {text}")
        say(f"  heard as  {outcome.heard}")
        say(f"  answered  {outcome.answer}")
    say(f"  the answer, {outcome.answer_s:.1f} s of speech, is in {out}\n")
    return 0


def _spoken(text: str, engine: str) -> bytes:
    """Return *text* as speech of the tts engine, made here: no service is needed for it."""
    module = engines.find("services.tts.engines", engine)
    voice = module.Engine(module.Settings())
    try:
        voice.load()
        pcm = b"".join(voice.synthesize(text, "", "", 1.0))
    except ConfigurationError as error:
        raise UsageError(f"--tts: {error}") from error
    breath = bytes(BREATH_MS * BYTES_PER_MS)
    return breath + recording.converted(pcm, voice.sample_rate) + breath


def _beside_others(planned: Plan) -> Plan:
    """Return *planned* with other ports where another suite has the usual ones."""
    chosen: dict[str, int] = {}
    for host_flag, port_flag in CLIENT_PORTS:
        host, usual = getattr(planned.settings, host_flag), getattr(planned.settings, port_flag)
        port = ports.usual_or_free(host, usual, chosen.values())
        if port != usual:
            chosen[port_flag] = port
    return planned.moved(chosen) if chosen else planned


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="speech-to-speech demo",
        description="Run the suite, ask it a question by voice, save the answer. Takes the suite's flags, too.",
        allow_abbrev=False,
    )
    parser.add_argument("--text", default=QUESTION, help="the question (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("reply.wav"), help="where the answer goes (%(default)s)")
    return parser
