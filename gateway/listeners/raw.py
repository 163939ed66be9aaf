"""What the two raw listeners share: how a client's session is set up from the settings, and how it ends."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import structlog

from gateway.bus_link import BusLink
from gateway.core.session import SessionSettings
from gateway.errors import RefusedError
from gateway.metrics import SESSIONS_REFUSED
from gateway.raw_driver import RawConnection, RawDriver
from gateway.settings import GatewaySettings
from proto.v1 import speech_pb2 as pb

log = structlog.get_logger(__name__)

RAW_RATE = 16_000
# What clients are told when the gateway ends.
STOPPING: Final = "the server is stopping"


def open_session(link: BusLink, settings: GatewaySettings, connection: RawConnection) -> RawDriver:
    """Return the open session of a new raw client.

    Raises:
        RefusedError: there is no room, or a service is missing. Counted.
    """
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
        ),
        recognition=pb.Recognition(language=settings.language, partials=True),
        voice=settings.voice,
    )
    try:
        driver.open(settings.max_sessions)
    except RefusedError as refused:
        SESSIONS_REFUSED.labels(str(refused).partition(":")[0]).inc()
        raise
    return driver


async def end_all(tasks: "Sequence[asyncio.Future[Any]]") -> None:
    """Cancel the tasks of one client and wait for them.

    A lost connection is how many clients end; any other error is logged.
    """
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, Exception) and not isinstance(outcome, OSError):
            log.error("client failed", exc_info=outcome)
