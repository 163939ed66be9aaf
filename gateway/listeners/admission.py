"""Who may come in at `ws_port`: keys, keys that clients mint for a session, and web pages."""

import hashlib
import hmac
import ipaddress
import secrets
import ssl
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from bus.errors import ConfigurationError
from gateway.core.realtime.config import SessionConfig
from gateway.settings import GatewaySettings

EPHEMERAL: Final = "ek_"
# Ephemeral keys at a time; minting more forgets the oldest.
MINTED_AT_MOST: Final = 10_000


@dataclass(frozen=True, slots=True)
class Minted:
    """An ephemeral key's session, and when the key ends in Unix seconds."""

    config: SessionConfig
    expires_at: int


class Admission:
    """Checks keys and origins.

    Raises:
        ConfigurationError: the file of keys cannot be used.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        keys = [*settings.api_keys, *(_keys_in(settings.api_keys_file) if settings.api_keys_file else ())]
        self._keys = [_digest(key) for key in keys]
        self._origins = frozenset(origin.rstrip("/").lower() for origin in settings.allowed_origins)
        self._minted: dict[bytes, Minted] = {}

    @property
    def wants_key(self) -> bool:
        """Whether clients need a key at all."""
        return bool(self._keys)

    def knows(self, key: str) -> bool:
        """Tell whether *key* is one of the configured ones; true if there are none. Takes the same time always."""
        shown = _digest(key)
        matches = [hmac.compare_digest(shown, known) for known in self._keys]
        return any(matches) or not self._keys

    def admits(self, key: str) -> bool:
        """Tell whether a session may begin with *key*."""
        return self.knows(key) or self.session_of(key) is not None

    def allows_origin(self, origin: str | None) -> bool:
        """Tell whether scripts of *origin* may connect. Clients that are no browsers name none."""
        return not self._origins or origin is None or origin.rstrip("/").lower() in self._origins

    def mint(self, config: SessionConfig, seconds: int) -> tuple[str, int]:
        """Return a key for sessions like *config*, and when it ends in Unix seconds."""
        key, expires_at = EPHEMERAL + secrets.token_hex(16), int(time.time()) + seconds
        now = time.time()
        for digest, minted in list(islice(self._minted.items(), 8)):  # a few each time keep up with what is added
            if minted.expires_at <= now:
                del self._minted[digest]
        if len(self._minted) >= MINTED_AT_MOST:
            del self._minted[next(iter(self._minted))]
        self._minted[_digest(key)] = Minted(config, expires_at)
        return key, expires_at

    def session_of(self, key: str) -> SessionConfig | None:
        """Return the session that the ephemeral *key* was minted for, None if it is none or has ended."""
        minted = self._minted.get(_digest(key)) if key.startswith(EPHEMERAL) else None
        return minted.config if minted is not None and time.time() < minted.expires_at else None


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches *host*."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_certificate(settings: GatewaySettings) -> None:
    """Try the certificate, if there is one.

    Raises:
        ConfigurationError: it cannot be used; names the flags.
    """
    if settings.ssl_keyfile and not settings.ssl_certfile:
        raise ConfigurationError("--ssl_keyfile needs --ssl_certfile")
    if not settings.ssl_certfile:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.ssl_certfile, settings.ssl_keyfile or None)
    except (OSError, ssl.SSLError) as error:
        why = error.strerror or error
        raise ConfigurationError(f"cannot use --ssl_certfile with --ssl_keyfile ({why})") from error


def _keys_in(path: str) -> list[str]:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read --api_keys_file {path!r}") from error
    keys = [key for key in (line.partition("#")[0].strip() for line in lines) if key]
    if not keys:
        raise ConfigurationError(f"--api_keys_file {path!r} holds no key")
    return keys


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
