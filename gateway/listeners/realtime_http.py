"""The HTTP routes beside the Realtime protocol: models, and ephemeral keys that carry a session."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from gateway.core.realtime.config import SessionConfig
from gateway.listeners.admission import Admission
from gateway.protocols.realtime.checks import Object, a_word, an_integer, an_object, only
from gateway.protocols.realtime.dialect import BETA, GA, Dialect, api_key
from gateway.protocols.realtime.errors import EventError
from gateway.protocols.realtime.fields import session_object, update_session
from gateway.protocols.realtime.ids import new_id
from gateway.protocols.realtime.values import Rules

MAX_BODY: Final = 1024 * 1024
KEY_SECONDS: Final = 600
MIN_KEY_SECONDS, MAX_KEY_SECONDS = 10, 7200


class RealtimeHttp:
    """Answers the requests. *rules* gives those of a new session, *models* the names of what answers here."""

    def __init__(
        self, admission: Admission, rules: Callable[[Dialect], Rules], models: Callable[[], list[str]]
    ) -> None:
        self._admission = admission
        self._rules = rules
        self._models = models
        self._began = int(time.time())

    async def models(self, request: Request) -> Response:
        """List the models."""
        if not self._knows(request):
            return _unauthorized()
        models = [
            {"id": name, "object": "model", "created": self._began, "owned_by": "local"} for name in self._models()
        ]
        return JSONResponse({"object": "list", "data": models})

    async def client_secrets(self, request: Request) -> Response:
        """Make an ephemeral key; its sessions begin as the body says."""

        def answer(body: Object) -> Object:
            wire = an_object(body.get("session") or {}, "session")
            kind: Any = a_word(wire.get("type", "realtime"), "session.type", ("realtime", "transcription"))
            config = self._config(GA, kind, wire, "session")
            value, expires_at = self._admission.mint(config, _lifetime(body.get("expires_after")))
            session = session_object(config, GA, new_id("sess"), expires_at)
            return {"value": value, "expires_at": expires_at, "session": session}

        return await self._answer(request, answer)

    async def sessions(self, request: Request) -> Response:
        """Make an ephemeral key as beta does: the session with the key inside."""
        return await self._answer(request, lambda body: self._beta(body, "realtime"))

    async def transcription_sessions(self, request: Request) -> Response:
        """Make an ephemeral key for transcription as beta does."""
        return await self._answer(request, lambda body: self._beta(body, "transcription"))

    def _beta(self, body: Object, kind: Any) -> Object:
        wire = dict(body)
        secret = wire.pop("client_secret", None)
        config = self._config(BETA, kind, wire, "session")
        asked = secret.get("expires_after") or secret.get("expires_at") if isinstance(secret, dict) else None
        value, expires_at = self._admission.mint(config, _lifetime(asked))
        session = session_object(config, BETA, new_id("sess"), expires_at)
        return session | {"client_secret": {"value": value, "expires_at": expires_at}}

    def _config(self, dialect: Dialect, kind: Any, wire: Object, path: str) -> SessionConfig:
        rules = self._rules(dialect)
        return update_session(replace(rules.defaults, type=kind), wire, rules, path)

    async def _answer(self, request: Request, answer: Callable[[Object], Object]) -> Response:
        if not self._knows(request):
            return _unauthorized()
        try:
            return JSONResponse(answer(await _body(request)))
        except EventError as error:
            return _error(400, error)
        except ClientDisconnect:  # in the middle of the body: nobody hears the answer
            return Response(status_code=400)

    def _knows(self, request: Request) -> bool:
        return self._admission.knows(api_key(request.headers, ()))


async def _body(request: Request) -> Object:
    """Return the body; none at all is an empty object."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise EventError("string_above_max_length", f"The body is longer than {MAX_BODY} bytes.")
    try:
        return an_object(msgspec.json.decode(body), "body") if body.strip() else {}
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise EventError("invalid_json", f"The body is not valid JSON: {error}.") from error


def _lifetime(value: Any) -> int:
    """Return how many seconds a key shall live."""
    if value is None:
        return KEY_SECONDS
    wire = an_object(value, "expires_after")
    only(wire, frozenset({"anchor", "seconds"}), "expires_after")
    if wire.get("anchor") is not None:
        a_word(wire["anchor"], "expires_after.anchor", ("created_at",))
    if wire.get("seconds") is None:
        return KEY_SECONDS
    return an_integer(wire["seconds"], "expires_after.seconds", MIN_KEY_SECONDS, MAX_KEY_SECONDS)


def _unauthorized() -> Response:
    return _error(401, EventError("invalid_api_key", "Incorrect API key provided, or none."))


def _error(status: int, error: EventError) -> Response:
    body = {
        "message": error.message,
        "type": "invalid_request_error",
        "param": error.param,
        "code": error.code,
    }
    return JSONResponse({"error": body}, status_code=status)
