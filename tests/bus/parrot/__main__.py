"""Says back what it is told, through the entry point that every service shares."""

import asyncio
import importlib
import sys
from typing import Any

from bus.frames import Frame
from bus.jobs import Job, Scope
from bus.main import run_service
from bus.serve import Description
from bus.settings import ServiceSettings
from bus.tasks import TaskHandler
from proto.v1 import speech_pb2 as pb


class ParrotSettings(ServiceSettings):
    """Settings of the parrot."""

    engine: str = "echo"


class Parrot:
    """Hangs on "hang", until it is told "enough"; crashes on "crash"."""

    role = pb.LLM
    scope = Scope.RESPONSE
    accepts = frozenset({"generation_request", "text_delta"})
    early: frozenset[str] = frozenset()

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    async def load(self) -> Description:
        await asyncio.to_thread(self._engine.load)
        return Description(engine="echo")

    def opens(self, body: str, _frame: Frame) -> bool:
        return body == "generation_request"

    async def handle(self, job: Job) -> None:
        async for body, frame in job.frames():
            word = frame.generation_request.instructions
            if word == "crash":
                raise ZeroDivisionError(frame.generation_request.messages[0].parts[0].text)
            if body == "generation_request" and word == "hang":
                continue
            job.reply(text_delta=pb.TextDelta(text=self._engine.say(word)))
            return

    async def stop(self) -> None:
        pass


def build(engine: Any, _settings: ParrotSettings) -> TaskHandler:
    """Return the handler."""
    return TaskHandler(Parrot(engine))


if __name__ == "__main__":
    sys.modules["services.parrot.engines"] = importlib.import_module("tests.bus.parrot.engines")
    run_service("parrot", ParrotSettings, build)
