"""A server that speaks as OpenAI's do: streams, stalls, fails, breaks off and lies as told, and notes what was asked.

It lives on a thread of its own, so that tests without an event loop can use it. Left alone it answers sensibly: a chat
repeats what was said, a transcript names the tones that were heard, speech is a tone.
"""

import asyncio
import io
import json
import threading
import wave
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from typing import Any

import numpy as np

from services.asr.engines.scripted import tones
from services.llm.pieces import words_of

SPEECH_RATE = 24_000
PATIENCE_S = 20.0


class Then(Enum):
    """What happens between two parts of an answer."""

    STALL = "stall"  # until the other side hangs up
    BREAK_OFF = "break off"


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    json: Any = None
    form: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Reply:
    """One answer. Its parts follow one another, each in a chunk of its own."""

    parts: Sequence[bytes | Then] = ()
    status: int = 200
    kind: str = "text/event-stream"


class OpenAiStub:
    """The server. Replies given to `then` are used up first, in order, whatever is asked but the list of models."""

    def __init__(self, port: int) -> None:
        self.base_url = f"http://127.0.0.1:{port}/v1"
        self.asked: list[Asked] = []
        self._replies: list[Reply] = []
        self._hung_up = threading.Semaphore(0)
        self._heard = threading.Semaphore(0)

    def then(self, *replies: Reply) -> None:
        """Answer the next requests with *replies*."""
        self._replies += replies

    def forget(self) -> None:
        """Forget what was asked and who hung up."""
        self.asked.clear()
        for event in (self._heard, self._hung_up):
            while event.acquire(blocking=False):
                pass

    def hung_up(self) -> bool:
        """Wait until the other side has closed a connection in mid-answer; false if it does not."""
        return self._hung_up.acquire(timeout=PATIENCE_S)

    def heard(self) -> bool:
        """Wait until a request has come, the list of models aside."""
        return self._heard.acquire(timeout=PATIENCE_S)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request and close the connection."""
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            asked = await _request(reader)
            answering = asyncio.create_task(self._answer(asked, writer))
            leaving = asyncio.create_task(reader.read())
            await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
            for task in (answering, leaving):
                task.cancel()
            await asyncio.wait({answering, leaving})
            # Either the end of the stream was seen first, or it broke what was being written.
            if answering.cancelled() or isinstance(answering.exception(), ConnectionError):
                self._hung_up.release()
        writer.close()

    async def _answer(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        self.asked.append(asked)
        if asked.path.endswith("/models"):
            reply = Reply([json.dumps({"object": "list", "data": [{"id": "stub"}]}).encode()], kind="application/json")
        else:
            reply = self._replies.pop(0) if self._replies else _sensible(asked)
            self._heard.release()
        head = f"HTTP/1.1 {reply.status} Said\r\nContent-Type: {reply.kind}\r\nConnection: close\r\n"
        writer.write(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        for part in reply.parts:
            if part is Then.STALL:
                await writer.drain()
                await asyncio.sleep(3600)
            elif part is Then.BREAK_OFF:
                await writer.drain()
                writer.transport.abort()
                return
            elif isinstance(part, bytes):
                writer.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
                await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()


@contextmanager
def openai_stub() -> Iterator[OpenAiStub]:
    """Run a server."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="openai-stub", daemon=True)
    thread.start()
    stub, server = asyncio.run_coroutine_threadsafe(_start(), loop).result(PATIENCE_S)
    try:
        yield stub
    finally:
        asyncio.run_coroutine_threadsafe(_stop(server), loop).result(PATIENCE_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE_S)
        loop.close()


@cache
def shared_stub() -> OpenAiStub:
    """Return a server that runs as long as the tests do, for those that only want sensible answers."""
    running = openai_stub()
    _running.append(running)
    return running.__enter__()


_running: list[Any] = []  # a context that is forgotten would end


def events(*chunks: Any, done: bool = True) -> list[bytes]:
    """Return *chunks* as server-sent events, the last of them `[DONE]`."""
    return [f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks] + [b"data: [DONE]\n\n"] * done


def delta(finish: str | None = None, **said: Any) -> dict[str, Any]:
    """Return one chunk of a chat."""
    return {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": said, "finish_reason": finish}]}


def says(*words: str, finish: str = "stop") -> Reply:
    """Return an answer of *words*."""
    return Reply(events(*(delta(content=word) for word in words), delta(finish)))


def refusal(status: int, code: str = "", message: str = "secret words") -> Reply:
    """Return an error as OpenAI writes it."""
    error = {"error": {"message": message, "type": "x", "code": code}}
    return Reply([json.dumps(error).encode()], status, "application/json")


def wav(pcm: bytes, rate: int = SPEECH_RATE, channels: int = 1) -> bytes:
    """Return *pcm* as a WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(channels)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(pcm)
    return file.getvalue()


def tone_of(text: str, speed: float = 1.0) -> bytes:
    """Return what the server says for *text*: 60 ms of 440 Hz for each character (24 kHz s16le)."""
    at = np.arange(int(SPEECH_RATE * 0.06 * len(text) / speed))
    return bytes((8000 * np.sin(2 * np.pi * 440 * at / SPEECH_RATE)).astype("<i2").tobytes())


def _sensible(asked: Asked) -> Reply:
    if asked.path.endswith("/chat/completions"):
        return _repeats(asked.json)
    if asked.path.endswith("/audio/transcriptions"):
        with wave.open(io.BytesIO(asked.form["file"])) as file:
            text = tones(file.readframes(file.getnframes()))
        return Reply([json.dumps({"text": text}).encode()], kind="application/json")
    if asked.path.endswith("/audio/speech"):
        pcm = tone_of(asked.json["input"], asked.json.get("speed", 1.0))
        return Reply([pcm[at : at + 4799] for at in range(0, len(pcm), 4799)], kind="audio/pcm")
    return refusal(404)


def _repeats(body: Any) -> Reply:
    last = body["messages"][-1]["content"] if body["messages"] else ""
    words = list(words_of(f"I heard {last}, and that is all of it."))
    allowed = body.get("max_tokens") or len(words)
    finish = "length" if allowed < len(words) else "stop"
    words = words[:allowed]
    chunks = [delta(role="assistant", content=""), *(delta(content=word) for word in words), delta(finish)]
    usage = {"prompt_tokens": 7, "completion_tokens": len(words), "prompt_tokens_details": {"cached_tokens": 3}}
    if body.get("stream_options"):
        chunks.append({"choices": [], "usage": usage})
    return Reply([b"".join(events(*chunks))])


async def _start() -> tuple[OpenAiStub, asyncio.Server]:
    stubs: list[OpenAiStub] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await stubs[0].serve(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    stubs.append(OpenAiStub(server.sockets[0].getsockname()[1]))
    return stubs[0], server


async def _stop(server: asyncio.Server) -> None:
    server.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.sleep(0)  # transports close in the next round


async def _request(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    method, path, _ = head[0].split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    kind = headers.get("content-type", "")
    if kind.startswith("multipart/form-data"):
        boundary = kind.partition("boundary=")[2].encode()
        return Asked(method, path, headers, form=dict(_fields(body, boundary)))
    return Asked(method, path, headers, json=json.loads(body) if body else None)


def _fields(body: bytes, boundary: bytes) -> Iterator[tuple[str, bytes]]:
    for part in body.split(b"--" + boundary)[1:-1]:
        head, _, value = part.partition(b"\r\n\r\n")
        yield head.partition(b'name="')[2].partition(b'"')[0].decode(), value.removesuffix(b"\r\n")
