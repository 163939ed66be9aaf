"""What the two raw listeners share: how a client's session is set up from the settings, and how it ends."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import structlog

from gateway.bus_link import BusLink
from gateway.core.events import Role
from gateway.core.input import pause_ms_before
from gateway.core.session import SessionSettings
from gateway.errors import RefusedError, UnknownNameError
from gateway.metrics import SESSIONS_REFUSED
from gateway.raw_driver import RawConnection, RawDriver
from gateway.settings import GatewaySettings
from proto.v1 import speech_pb2 as pb

log = structlog.get_logger(__name__)

RAW_RATE = 16_000
# What clients are told when the gateway ends.
STOPPING: Final = "the server is stopping"


def open_session(
    link: BusLink, settings: GatewaySettings, connection: RawConnection, asked: Mapping[str, str] | None = None
) -> RawDriver:
    """Return the open session of a new raw client.

    *asked* may name, for this session alone, a `language`, a `voice` and, by role, the engines or models to use.

    Raises:
        UnknownNameError: no service has what is *asked* by name.
        RefusedError: there is no room, or a service is missing. Counted.
    """
    asked = asked or {}
    engines = {role: asked[role.value] for role in Role if asked.get(role.value)}
    _check(link, engines, asked.get("voice", ""))
    language = asked.get("language") or settings.language
    driver = RawDriver(
        link,
        connection,
        settings=SessionSettings(
            instructions=settings.instructions,
            output_rate=RAW_RATE,
            lead_ms=settings.lead_ms,
            silence_duration_ms=settings.silence_duration_ms,
            reopen_ms=settings.reopen_ms,
            starvation_ms=settings.starvation_ms,
            half_duplex=settings.half_duplex,
            transcript_timeout_ms=int(settings.asr_timeout_s * 1000),
            text_timeout_ms=int(settings.llm_timeout_s * 1000),
            speech_timeout_ms=int(settings.tts_timeout_s * 1000),
        ),
        endpointing=pb.Endpointing(
            mode=pb.Endpointing.SERVER_VAD,
            threshold=settings.threshold,
            prefix_padding_ms=settings.prefix_padding_ms,
            silence_duration_ms=settings.silence_duration_ms,
            min_speech_ms=settings.min_speech_ms,
            pause_ms=pause_ms_before(settings.silence_duration_ms),
        ),
        recognition=pb.Recognition(language=language, partials=True),
        voice=asked.get("voice") or settings.voice,
        engines=engines,
    )
    try:
        driver.open(settings.max_sessions)
    except RefusedError as refused:
        SESSIONS_REFUSED.labels(str(refused).partition(":")[0]).inc()
        raise
    return driver


def _check(link: BusLink, engines: Mapping[Role, str], voice: str) -> None:
    usable = [replica for replica in link.registry.all() if replica.usable]
    for role, name in engines.items():
        known = sorted({n for r in usable if r.role is role for n in (r.said.engine, r.said.model) if n})
        if name not in known:
            raise UnknownNameError(f"no {role.value} {name!r} here, but {', '.join(known) or 'none'}")
    if voice and voice not in link.voices():
        raise UnknownNameError(f"no voice {voice!r} here, but {', '.join(sorted(link.voices())) or 'none'}")


async def end_all(tasks: "Sequence[asyncio.Future[Any]]") -> None:
    """Cancel the tasks of one client and wait for them.

    A lost connection is how many clients end; any other error is logged.
    """
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, Exception) and not isinstance(outcome, OSError):
            log.error("client failed", exc_info=outcome)
