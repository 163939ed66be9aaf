"""How fast an interruption silences the voice: `python -m launcher.bench.barge_in`.

A real gateway and a real vad (Silero, or another with `--vad`) with scripted asr, llm and tts. A client speaks, hears
the beginning of a long answer, speaks again, and notes when the last byte of the old answer reached it.
The time runs from the moment at which the client sent the chunk that holds the onset: what the line takes both ways is
counted in.
"""

import argparse
import asyncio
import statistics
import sys
from typing import Final

import numpy as np
import soxr

from launcher.bench.machine import describe
from launcher.bench.suite import running_suite
from launcher.client import BYTES_PER_MS, CHUNK_MS, Audio, Event, WebSocketClient, connect_websocket, speak
from services.tts.engines.espeak_ng import Engine, Settings

# What the design asks for, and what it aims at, in ms.
LIMIT_MS: Final = 150
AIM_MS: Final = 64
# Full scale is 32 768; what is quieter than this before the first word is no speech.
LOUD: Final = 1000
QUESTION: Final = "please tell me a very long story about the sea"
INTERRUPTION: Final = "stop talking now"
# A bound for every wait of a round.
PATIENCE_S: Final = 30.0


def spoken(text: str) -> bytes:
    """Return *text* as speech (16 kHz s16le) that begins at its first loud sample."""
    engine = Engine(Settings())
    engine.load()
    samples = np.frombuffer(b"".join(engine.synthesize(text, "", "", 1.0)), np.int16)
    at_16k = soxr.resample(samples, engine.sample_rate, 16_000)
    loud = np.flatnonzero(np.abs(at_16k.astype(np.int32)) > LOUD)
    return bytes(at_16k[loud[0] :].astype("<i2").tobytes())


async def one_round(client: WebSocketClient, question: bytes, interruption: bytes) -> float:
    """Return the ms from the onset of the interruption to the last audio of the answer that it stops."""
    silence = bytes(700 * BYTES_PER_MS)
    asking = asyncio.create_task(speak(client, question + silence))
    await _audio_for(client, 1.0)
    await asking
    loop = asyncio.get_running_loop()
    onset_s = loop.time() + CHUNK_MS / 1000  # when the chunk with the onset leaves
    speaking = asyncio.create_task(speak(client, interruption + silence))
    last_audio_s = onset_s
    while True:
        item = await client.receive()
        if isinstance(item, Audio):
            last_audio_s = item.at_s
        elif item.kind == "interrupt":
            break
    await speaking
    await _answered(client)
    return max(0.0, (last_audio_s - onset_s) * 1000)


async def _audio_for(client: WebSocketClient, seconds: float) -> None:
    first_s: float | None = None
    while True:
        item = await client.receive()
        if isinstance(item, Audio):
            first_s = first_s or item.at_s
            if item.at_s - first_s > seconds:
                return


async def _answered(client: WebSocketClient) -> None:
    """Interrupt nothing: the answer to the interruption is left to be stopped by the next question."""
    while True:
        item = await client.receive()
        if isinstance(item, Event) and item.kind == "response_started":
            return


async def measure(port: int, rounds: int, at_once: int = 1) -> list[float]:
    """Return the ms of each round, a connection each, so many *at_once*."""
    question, interruption = spoken(QUESTION), spoken(INTERRUPTION)
    places = asyncio.Semaphore(at_once)

    async def one(number: int) -> float:
        async with places, await connect_websocket("127.0.0.1", port) as client, asyncio.timeout(PATIENCE_S):
            # The answers' clauses and the vad's windows fall differently against the onset in every round.
            return await one_round(client, question, bytes(2 * 37 * number) + interruption)

    return await asyncio.gather(*(one(number) for number in range(rounds)))


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m launcher.bench.barge_in", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10, help="interruptions to measure (default: 10)")
    parser.add_argument("--vad", default="silero", help="engine of the vad service (default: silero)")
    options = parser.parse_args()
    with running_suite(engines={"vad": options.vad}, flags={"llm": ["--words", "300"]}) as suite:
        found = sorted(asyncio.run(measure(suite.ws_port, options.rounds)))
    print(describe())
    print(f"barge-in, {len(found)} rounds, vad {options.vad}: onset sent -> last byte of the old answer received")
    print(f"  median {statistics.median(found):.0f} ms   least {found[0]:.0f} ms   most {found[-1]:.0f} ms")
    print(f"  asked for: at most {LIMIT_MS} ms (aim {AIM_MS} ms)")
    return 0 if statistics.median(found) <= LIMIT_MS else 1


if __name__ == "__main__":
    sys.exit(main())
