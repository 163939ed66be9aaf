"""Our own services in the test's event loop, as subjects of the kit."""

import asyncio
import importlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from bus.main import configure
from bus.serve import Service
from launcher.check import run
from launcher.check.peer import Peer
from launcher.check.rule import Outcome, Verdict
from launcher.check.rules import RULES
from launcher.check.subject import Options, Subject
from services.asr.settings import AsrSettings
from services.llm.settings import LlmSettings
from services.tts.settings import TtsSettings
from services.vad.settings import VadSettings
from tests.support.bus import PATIENCE_S, ipc_folder

SETTINGS: Final[dict[str, Any]] = {"vad": VadSettings, "asr": AsrSettings, "llm": LlmSettings, "tts": TtsSettings}
# Few places, so that they are soon full.
FLAGS: Final = ("--capacity", "3", "--health_port", "0", "--drain_timeout_s", str(PATIENCE_S))
OPTIONS: Final = Options(patience_s=PATIENCE_S, drain=True)


@asynccontextmanager
async def subject_of(
    role: str, *flags: str, options: Options = OPTIONS, tamper: Callable[[Service], None] = lambda _: None
) -> AsyncIterator[Subject]:
    """Run our service of *role* with *flags* beside the usual ones; yield it when it is ready.

    *tamper* may change the service before it begins.
    """
    with ipc_folder() as folder:
        inbox, address = f"ipc://{folder}/kit.ipc", f"ipc://{folder}/service.ipc"
        args = [*FLAGS, "--bind", address, "--gateways", inbox, *flags]
        if options.lease_ttl_s:
            args += ["--lease_ttl_s", str(options.lease_ttl_s)]
        settings, engine = configure(role, SETTINGS[role], args)
        handler = importlib.import_module(f"services.{role}.__main__").build(engine, settings)
        service = Service(handler, settings)
        tamper(service)
        running = asyncio.create_task(service.run())

        async def ended() -> int:
            await asyncio.shield(running)
            return 0

        subject = Subject(Peer(inbox), role, address, options, ended)
        try:
            problem = await run.appearance(subject, PATIENCE_S)
            assert not problem, problem
            yield subject
        finally:
            subject.peer.close()
            service._drained.set()
            await asyncio.wait_for(running, PATIENCE_S)


async def found_in(subject: Subject, *names: str) -> dict[str, Verdict]:
    """Return the verdicts of the rules with these *names* (all, if none is named), by name."""
    rules = [rule for rule in RULES if not names or rule.name in names]
    return {verdict.rule.name: verdict for verdict in await run.verdicts(subject, rules)}


def of(found: dict[str, Verdict], outcome: Outcome) -> dict[str, str]:
    """Return why, by name, of those that have this *outcome*."""
    return {name: verdict.why for name, verdict in found.items() if verdict.outcome is outcome}
