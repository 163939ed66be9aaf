"""An OpenAI-compatible server that an engine asks over HTTP: its address, its key, and what can go wrong there.

With httpx2 and not with the openai package, because that logs whole requests at debug level, takes any JSON for an
answer without looking at it, tries again unless told not to, and needs half a second to be imported. Here an answer is
validated by whoever asked, nothing is ever tried again, and leaving the context closes the connection.

No message here holds a key, or anything that the server wrote but its error's code, and that only if it is a known one.
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import structlog
from pydantic import BaseModel, Field, SecretStr, TypeAdapter, ValidationError, field_validator

from bus.errors import ConfigurationError, EngineError, InvalidRequestError, JobError, OverloadedError

if TYPE_CHECKING:
    import httpx2

log = structlog.get_logger(__name__)

# A server that is asked whether it is there may take so long; the service's start waits for it.
PROBE_S: Final = 3.0
# What is read of a refusal: bytes, and seconds.
REFUSAL_BYTES: Final = 64 * 1024
REFUSAL_S: Final = 2.0
# A request without its answer; far more than any answer of these endpoints but audio, which is streamed.
ANSWER_BYTES: Final = 4 * 1024 * 1024
# TLS takes several round trips: a connection is kept from one turn to the next.
KEEP_ALIVE_S: Final = 30.0

BAD_REQUEST: Final = 400
UNAUTHORIZED: Final = 401
FORBIDDEN: Final = 403
TOO_MANY: Final = 429
# The request cannot be served, whoever asks again: bad, too large, of a wrong kind, not processable.
IMPOSSIBLE: Final = frozenset({BAD_REQUEST, 413, 415, 422})
# Another attempt may work: time-out, conflict, too early.
PASSING: Final = frozenset({408, 409, 425})
SERVER_FAILED: Final = 500

# Codes that servers are known to send. Others may hold anything, so they are not repeated.
CODES: Final = frozenset(
    {
        "billing_hard_limit_reached",
        "content_policy_violation",
        "context_length_exceeded",
        "insufficient_quota",
        "invalid_api_key",
        "model_not_found",
        "rate_limit_exceeded",
        "server_error",
        "unsupported_parameter",
        "unsupported_value",
    }
)


class Upstream(BaseModel):
    """Where the server is and how it is spoken to."""

    base_url: str = Field("https://api.openai.com/v1", description="the server, up to and including /v1")
    api_key: SecretStr = Field(SecretStr(""), description="its key; better in the environment or a file than here")
    api_key_file: str = Field("", description="file that holds the key; without either: $OPENAI_API_KEY")
    connect_timeout_s: float = Field(5.0, gt=0, description="seconds until the server must have taken the connection")

    @field_validator("base_url")
    @classmethod
    def _is_http(cls, value: str) -> str:
        if not value.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return value.rstrip("/")


class RefusedError(EngineError):
    """The server will go on refusing: the key, the path or the quota is wrong, not the request."""

    retryable = False


class ParameterError(InvalidRequestError):
    """The server called the request bad, and named one of the parameters that the caller can do without."""

    def __init__(self, message: str, parameters: frozenset[str]) -> None:
        super().__init__(message)
        self.parameters = parameters


class _Refusal(BaseModel):
    code: str | int | None = None
    type: str | None = None


class _Model(BaseModel):
    id: str


class _Models(BaseModel):
    models: list[_Model] = Field(alias="data")


_REFUSAL: Final = TypeAdapter(dict[str, _Refusal])


class Server:
    """The server, through one pool of connections. As many requests at a time as there are leases."""

    def __init__(self, client: "httpx2.AsyncClient", *, has_key: bool) -> None:
        self._client = client
        self._has_key = has_key

    @asynccontextmanager
    async def asked(
        self, path: str, *, spare: frozenset[str] = frozenset(), **content: Any
    ) -> AsyncIterator["httpx2.Response"]:
        """Post to *path* and give the answer, its body still to be read; afterwards nothing is open.

        *content* is httpx's (`json`, `data`, `files`); *spare* names parameters that can be left out. Errors of the
        connection that happen inside the context are translated, too.

        Raises:
            ParameterError: the server wants none of one of the *spare* parameters.
            InvalidRequestError: the server calls the request impossible.
            RefusedError: key, path or quota are refused.
            OverloadedError: too many requests.
            EngineError: the server cannot be reached, failed, or broke off.
        """
        import httpx2

        try:
            async with self._client.stream("POST", path, **content) as response:
                if not response.is_success:
                    raise await self._refusal(response, spare)
                yield response
        except httpx2.ConnectError as error:
            raise EngineError("the upstream server cannot be reached") from error
        except httpx2.ConnectTimeout as error:
            raise EngineError("the upstream server did not take the connection in time") from error
        except httpx2.HTTPError as error:
            raise EngineError(f"the connection to the upstream server broke: {type(error).__name__}") from error

    async def probe(self) -> list[str]:
        """Return the names of the server's models. If it does not tell, log one line; none is worth an error."""
        import httpx2

        why = ""
        try:
            async with asyncio.timeout(PROBE_S):
                response = await self._client.get("models")
            if response.is_success:
                return [model.id for model in _Models.model_validate_json(response.content).models]
            if response.status_code in {UNAUTHORIZED, FORBIDDEN}:
                why = "the key is refused" if self._has_key else "it wants a key, and none is set"
            elif response.status_code >= SERVER_FAILED:
                why = f"status {response.status_code}"
        except TimeoutError:
            why = f"no answer within {PROBE_S:g} s"
        except httpx2.HTTPError as error:
            why = type(error).__name__
        except ValidationError:
            return []  # it answers; that it lists no models is its affair
        if why:
            log.warning("the upstream server is not of use yet", server=self._client.base_url.host, why=why)
        return []

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def _refusal(self, response: "httpx2.Response", spare: frozenset[str]) -> JobError:
        status = response.status_code
        body = await _beginning(response)
        code = _code(body)
        said = f"the upstream server answered {status}" + (f" ({code})" if code else "")
        if status in IMPOSSIBLE:
            named = frozenset(name for name in spare if name.encode() in body)
            return ParameterError(said, named) if named else InvalidRequestError(said)
        if status in {UNAUTHORIZED, FORBIDDEN}:
            return RefusedError(f"{said}: {'the key is refused' if self._has_key else 'no key is set'}")
        if status == TOO_MANY and code not in {"insufficient_quota", "billing_hard_limit_reached"}:
            return OverloadedError(said)
        if status in PASSING or status >= SERVER_FAILED:
            return EngineError(said)
        return RefusedError(said)


def connect(settings: Upstream, requirements: str) -> Server:
    """Return the server that *settings* tell of. Opens no connection yet.

    Raises:
        ConfigurationError: the key cannot be read or sent, or httpx2 is missing: *requirements* names the file to
            install.
    """
    try:
        import httpx2
    except ImportError as error:
        raise ConfigurationError(f"httpx2 is not installed: pip install -r {requirements}") from error
    key = _key(settings)
    for name in ("httpx2", "httpcore2"):  # they log every request
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        client = httpx2.AsyncClient(
            base_url=settings.base_url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            # Only connecting has a time-out of its own; how long an answer may take is said by whoever asks.
            timeout=httpx2.Timeout(None, connect=settings.connect_timeout_s),
            limits=httpx2.Limits(max_keepalive_connections=32, keepalive_expiry=KEEP_ALIVE_S),
        )
    except httpx2.InvalidURL as error:
        raise ConfigurationError("--base_url is no URL; write http://HOST:PORT/v1") from error
    return Server(client, has_key=bool(key))


async def whole(response: "httpx2.Response") -> bytes:
    """Return the body.

    Raises:
        EngineError: it is larger than any sensible answer.
    """
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > ANSWER_BYTES:
            raise EngineError("the upstream server's answer has no end")
    return bytes(body)


def error_of(event: bytes) -> EngineError:
    """Return what an error that comes in the middle of an answer means."""
    code = _code(event)
    return EngineError("the upstream server failed in mid-answer" + (f" ({code})" if code else ""))


async def _beginning(response: "httpx2.Response") -> bytes:
    import httpx2

    body = bytearray()
    try:
        async with asyncio.timeout(REFUSAL_S):
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > REFUSAL_BYTES:
                    break
    except (TimeoutError, httpx2.HTTPError):
        pass  # the status says enough
    return bytes(body)


def _code(body: bytes) -> str:
    try:
        refusal = _REFUSAL.validate_json(body).get("error")
    except ValidationError:
        return ""
    if refusal is None:
        return ""
    return next((str(name) for name in (refusal.code, refusal.type) if name in CODES), "")


def _key(settings: Upstream) -> str:
    key = settings.api_key.get_secret_value()
    if not key and settings.api_key_file:
        try:
            key = Path(settings.api_key_file).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"cannot read --api_key_file {settings.api_key_file}: {_why(error)}") from error
        if not key.strip():
            raise ConfigurationError(f"--api_key_file {settings.api_key_file} is empty")
    key = (key or os.environ.get("OPENAI_API_KEY", "")).strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigurationError("the API key holds characters that no key has; look at --api_key or the file")
    return key


def _why(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or "not text"
