"""Speaks recordings to the suite and scores what it understood: `python -m launcher.bench.recordings FOLDER`.

FOLDER holds 16 kHz mono WAV files and `transcripts.tsv` with the columns `file` and `transcript`. Each recording is
spoken in real time through the given mode, and recognised directly by the same engine with the same settings. Printed
are what was heard, how each turn ended, and the word error rates of both ways.
"""

import argparse
import asyncio
import csv
import re
import sys
import wave
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import jiwer

from launcher.bench.machine import describe
from launcher.bench.suite import Suite, running_suite
from launcher.client import BYTES_PER_MS, Audio, TcpClient, WebSocketClient, connect_tcp, connect_websocket, speak
from services.asr.engines.pocketsphinx import recognise

EMBEDDED: Final = {"vad": "silero", "asr": "pocketsphinx", "llm": "responder", "tts": "flite"}
# What a microphone goes on sending after the words.
TRAILING_SILENCE_MS: Final = 4000
# The answer to a recording of ten seconds, spoken, is over by then; so is whatever went wrong.
PATIENCE_S: Final = 60.0
# A TCP client knows the end of an answer from nothing coming for so long.
QUIET_S: Final = 1.5


@dataclass(slots=True)
class Outcome:
    """What became of one recording."""

    file: str
    said: str
    direct: str = ""
    heard: list[str] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)
    answer_s: float = 0.0

    @property
    def answered(self) -> bool:
        """Whether exactly one answer was played to its end."""
        return self.answer_s > 0 and self.ends.count("completed") == 1


def words(text: str) -> str:
    """Return *text* as the words that are scored: lower case, no punctuation."""
    return " ".join(re.findall(r"[a-z0-9']+", text.lower()))


def recordings(folder: Path) -> list[Outcome]:
    """Return what there is to speak."""
    with (folder / "transcripts.tsv").open(newline="") as lines:
        return [Outcome(row["file"], row["transcript"]) for row in csv.DictReader(lines, delimiter="\t")]


def read(path: Path) -> bytes:
    """Return the samples of a 16 kHz mono 16-bit WAV file."""
    with wave.open(str(path)) as recording:
        return bytes(recording.readframes(recording.getnframes()))


async def converse(suite: Suite, mode: str, pcm: bytes, outcome: Outcome) -> None:
    """Speak *pcm* and note what comes until its answer is over."""
    if mode == "socket":
        client: WebSocketClient | TcpClient = await connect_tcp("127.0.0.1", suite.recv_port, suite.send_port)
    else:
        client = await connect_websocket("127.0.0.1", suite.ws_port)
    async with client:
        speaking = asyncio.create_task(speak(client, pcm + bytes(TRAILING_SILENCE_MS * BYTES_PER_MS)))
        try:
            async with asyncio.timeout(PATIENCE_S):
                await (_listen_to_events if mode == "websocket" else _listen_to_audio)(client, outcome)
        except TimeoutError:
            outcome.ends.append("nothing")
        speaking.cancel()
        await asyncio.gather(speaking, return_exceptions=True)


async def _listen_to_events(client: WebSocketClient | TcpClient, outcome: Outcome) -> None:
    async for item in client:
        if isinstance(item, Audio):
            outcome.answer_s += item.ms / 1000
        elif item.kind == "transcript":
            outcome.heard.append(item.fields["text"])
        elif item.kind == "turn_failed":
            outcome.ends.append("turn failed")
            return
        elif item.kind == "response_done":
            outcome.ends.append(item.fields["status"])
            if item.fields["status"] != "cancelled":
                return
            outcome.answer_s = 0.0


async def _listen_to_audio(client: WebSocketClient | TcpClient, outcome: Outcome) -> None:
    while True:
        try:
            item = await asyncio.wait_for(client.receive(), QUIET_S if outcome.answer_s else None)
        except TimeoutError:
            outcome.ends.append("completed")
            return
        if isinstance(item, Audio):
            outcome.answer_s += item.ms / 1000


async def run(suite: Suite, mode: str, folder: Path, outcomes: list[Outcome], at_once: int) -> None:
    """Speak every recording, *at_once* at a time."""
    places = asyncio.Semaphore(at_once)

    async def one(outcome: Outcome) -> None:
        async with places:
            await converse(suite, mode, read(folder / outcome.file), outcome)
        print(f"{outcome.file:20} {', '.join(outcome.ends):34} {' | '.join(outcome.heard)}", flush=True)

    await asyncio.gather(*(one(outcome) for outcome in outcomes))


def main() -> int:
    """Measure and print; exit status 1 if a recording was not answered exactly once."""
    parser = argparse.ArgumentParser(
        prog="python -m launcher.bench.recordings", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("folder", type=Path, help="WAV files and transcripts.tsv")
    parser.add_argument("--mode", choices=["websocket", "socket"], default="websocket", help="how to speak (websocket)")
    parser.add_argument("--at_once", type=int, default=2, help="recordings spoken at a time (default: 2)")
    options = parser.parse_args()
    outcomes = recordings(options.folder)
    print(describe(), flush=True)
    with running_suite(engines=EMBEDDED) as suite:
        asyncio.run(run(suite, options.mode, options.folder, outcomes, options.at_once))
    answered = sum(outcome.answered for outcome in outcomes)
    print(f"{answered} of {len(outcomes)} recordings got exactly one answer over {options.mode}")
    if options.mode == "websocket":
        for outcome in outcomes:
            outcome.direct = recognise(read(options.folder / outcome.file))
        said = [words(outcome.said) for outcome in outcomes]
        through = jiwer.wer(said, [words(" ".join(outcome.heard)) for outcome in outcomes])
        direct = jiwer.wer(said, [words(outcome.direct) for outcome in outcomes])
        points = (through - direct) * 100
        print(f"word error rate: {through:.1%} through the suite, {direct:.1%} direct ({points:+.1f} points)")
    return 0 if answered == len(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
